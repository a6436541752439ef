"""A fault at each byte and step of each move: a whole tier, an exact account, and the next try works."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import CopyFailed, DeviceFull, DormouseError, HostFull
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sharing import bundle as bundles
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.lifecycle.room.host_budget import HostBudget
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory
from torch import nn

from tests.modelserver.odd_zoo import sparse
from tests.modelserver.zoo import X, seeded

from .sharing_models import Family
from .using import held, on_gpu, weights_on

Make = Callable[..., Weights[Any]]
load = seeded(lambda: nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8), sparse(torch.sparse_coo)))
_STEP = 512


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model, torch.inference_mode():
        return torch.as_tensor(model(X)).clone()


def faults(nbytes: int) -> Iterator[SimFaults]:
    for byte in range(0, nbytes, _STEP):
        yield SimFaults(full_at_byte=byte)
        yield SimFaults(fail_copy_in_at_byte=byte)
        yield SimFaults(corrupt_copy_in_at_byte=byte)


@pytest.mark.parametrize("mirror", ["keep", "drop"])
@pytest.mark.parametrize("origin", [Residency.CPU, Residency.UNLOADED])
def test_a_wake(make: Make, device: SimDevice, mirror: str, origin: Residency) -> None:
    weights = make(load, mirror=mirror)
    weights.wake()
    right, nbytes = answer(weights), weights.device_bytes
    failed, said = 0, list[tuple[int, int]]()
    for fault in faults(nbytes):
        (weights.offload if origin is Residency.CPU else weights.unload)()
        device.faults = fault
        try:
            weights.wake()
        except DormouseError as error:
            failed += 1
            # The load was done and only room lacked, then it stays in host RAM if it came that far.
            lacked_room = isinstance(error, DeviceFull) and mirror == "keep"
            assert weights.residency is (Residency.CPU if lacked_room else origin)
            assert (device.memory().used, weights.device_bytes) == (0, 0)
            said += [(error.room_bytes, error.need_bytes)] if isinstance(error, DeviceFull) else []
        finally:
            device.faults = SimFaults()
        if weights.residency is not Residency.GPU:
            weights.wake()
        assert torch.equal(answer(weights), right)
        assert device.memory().used == nbytes
    assert failed > nbytes // _STEP
    assert said
    assert all(0 <= room < need <= nbytes for room, need in said)


@pytest.mark.parametrize("byte", range(0, 4096, 1024))
@pytest.mark.parametrize("mirror", ["keep", "drop"])
def test_an_offload_of_changes_that_arrive_wrong(make: Make, device: SimDevice, byte: int, mirror: str) -> None:
    weights = make(load, mirror=mirror)
    weights.wake()
    with held(weights) as model:
        model[0].weight.data += 1
    changed, used = answer(weights), device.memory().used
    device.faults = SimFaults(corrupt_copy_out_at_byte=byte)
    with pytest.raises(DormouseError, match="other bytes arrived"):
        weights.offload()
    device.faults = SimFaults()
    assert (weights.residency, device.memory().used) == (Residency.GPU, used)
    assert torch.equal(answer(weights), changed)
    weights.offload()
    weights.restore()
    assert torch.equal(answer(weights), changed)


@pytest.mark.parametrize("at_byte", [0, 100, 4999])
def test_a_mapping_at_a_stable_address(make: Make, device: SimDevice, at_byte: int) -> None:
    weights = on_gpu(make(load, stable_addresses=True))
    right, address = answer(weights), weights.model[0].weight.data_ptr()
    weights.offload()
    device.faults = SimFaults(fail_map_at_byte=at_byte)
    with pytest.raises(CopyFailed, match="broke off"):
        weights.restore()
    device.faults = SimFaults()
    assert (weights.residency, device.memory().used) == (Residency.CPU, 0)
    weights.restore()
    assert weights.model[0].weight.data_ptr() == address
    assert torch.equal(answer(weights), right)


def test_a_staging_buffer_that_host_ram_has_no_room_for_takes_no_device_memory(device: SimDevice) -> None:
    weights = weights_on(device, load, mirror="drop", host_memory=lambda: HostMemory(1000, 10))
    with pytest.raises(HostFull):
        weights.wake()
    assert (weights.residency, device.memory().used) == (Residency.UNLOADED, 0)


@pytest.mark.parametrize("part", [1, 2], ids=["first part", "second part"])
def test_a_split_without_room_leaves_it_whole_until_there_is_some(
    device: SimDevice, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Family(device, engine=TorchProcess(device, HostBudget()))
    family.a.wake()
    family.b.wake()
    made, original = [0], bundles.Bundle._part

    def without_room(self: Any, *arguments: Any) -> Any:
        made[0] += 1
        if made[0] == part:
            raise HostFull(1, 0)
        return original(self, *arguments)

    family.b.offload()
    monkeypatch.setattr(bundles.Bundle, "_part", without_room)
    family.a.offload()
    assert made[0] == part
    assert len(family.b._loaded.bundles) == 2  # type: ignore[union-attr]
    assert family.right(on_gpu(family.b), "b")
    family.b.offload()
    assert made[0] > part, "it was tried again"
    for weights, name in ((family.a, "a"), (family.b, "b")):
        assert family.right(on_gpu(weights), name)
    for weights in (family.a, family.b):
        weights.offload()
        weights.unload()
    assert device.memory().used == 0
    assert all(not made_again.host_bytes for made_again in (family.a, family.b))


def test_a_failed_wake_does_not_lose_what_a_sharer_changed_and_left(device: SimDevice) -> None:
    """The shared part stayed on the device for the wake, so the sharer did not copy its change back."""
    family = Family(device, mirror="drop")
    family.a.wake()
    family.b.load()
    changed: list[torch.Tensor] = []

    def warm_up(model: Any) -> None:
        with held(family.a) as other:
            other.encoder.weight.data += 1
        changed.append(answer(family.a))
        family.a.offload()
        raise ValueError("no such voice")

    object.__setattr__(family.b._options, "warm_up", warm_up)
    with pytest.raises(DormouseError, match="no such voice"):
        family.b.restore()
    assert device.memory().used == 0
    assert torch.equal(answer(on_gpu(family.a)), changed[0])
