"""A device with no memory left to take a checksum in: a model can leave it all the same, and one that comes waits for
room, or says that there is none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import DeviceFull
from dormouse_modelserver.engines.torch.checks.checksum import checksum as real_checksum
from dormouse_modelserver.engines.torch.layout import apart
from dormouse_modelserver.engines.torch.layout.matching import as_found
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.odd_zoo import sparse
from tests.modelserver.zoo import X, seeded

from .sharing_models import Family
from .using import held, on_gpu, weights_on

Make = Callable[..., Weights[Any]]
load = seeded(lambda: nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8)))
load_odd = seeded(lambda: nn.Sequential(nn.Linear(8, 8), sparse(torch.sparse_coo)))


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model, torch.inference_mode():
        return torch.as_tensor(model(X)).clone()


def add_one(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model:
        model[0].weight.data += 1
    return answer(weights)


@pytest.mark.parametrize("mirror", ["keep", "drop"])
@pytest.mark.parametrize("changed", [False, True])
def test_an_offload_succeeds_and_keeps_changes(make: Make, device: SimDevice, mirror: str, changed: bool) -> None:
    weights = on_gpu(make(load, mirror=mirror))
    right = add_one(weights) if changed else answer(weights)
    device.faults = SimFaults(room_for_checksum_bytes=0)
    weights.offload()
    assert (weights.residency, device.memory().used, weights.dirty) == (Residency.CPU, 0, changed)
    device.faults = SimFaults()
    weights.restore()
    assert torch.equal(answer(weights), right)


def test_an_unload_succeeds_and_finds_changes(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(load, unload_changes="discard"))
    add_one(weights)
    device.faults = SimFaults(room_for_checksum_bytes=0)
    weights._loaded.own.look(as_found(weights._loaded.own.packing))  # type: ignore[union-attr]
    assert weights.dirty
    weights.unload()
    assert (weights.residency, device.memory().used) == (Residency.UNLOADED, 0)


def test_an_unload_of_a_part_of_what_is_shared_succeeds(device: SimDevice) -> None:
    family = Family(device)
    for weights in (family.a, family.b):
        weights.wake()
    device.faults = SimFaults(room_for_checksum_bytes=0)
    family.a.unload()
    assert family.right(family.b, "b")


@pytest.mark.parametrize("origin", [Residency.CPU, Residency.UNLOADED])
def test_a_wake_that_can_not_be_verified_says_that_the_device_is_full(
    make: Make, device: SimDevice, origin: Residency
) -> None:
    weights = on_gpu(make(load))
    right = answer(weights)
    (weights.offload if origin is Residency.CPU else weights.unload)()
    device.faults = SimFaults(room_for_checksum_bytes=0)
    for _ in range(2):
        with pytest.raises(DeviceFull):
            weights.wake()
        assert (weights.residency, device.memory().used) == (Residency.CPU, 0)
    device.faults = SimFaults()
    weights.wake()
    assert torch.equal(answer(weights), right)


def test_room_is_made_for_verifying_and_the_wake_goes_on(device: SimDevice) -> None:
    seen: list[tuple[str, int]] = []

    def make_room(name: str, full: DeviceFull) -> bool:
        seen.append((name, device.memory().used))
        device.faults = SimFaults()
        return True

    weights = weights_on(device, load, engine=TorchProcess(device, make_room=make_room))
    weights.load()
    device.faults = SimFaults(room_for_checksum_bytes=0)
    weights.restore()
    assert seen == [("tts", 0)], "nothing was held while room was made"
    assert torch.equal(answer(weights), answer(on_gpu(weights_on(SimDevice("sim"), load))))


def test_a_first_load_without_a_mirror_is_verified_all_the_same(make: Make, device: SimDevice) -> None:
    """It can't be tried again without a second load: what it was filled from has been let go."""
    weights = make(load, mirror="drop")
    device.faults = SimFaults(room_for_checksum_bytes=0)
    weights._load(may_skip_mirror=True)
    assert (device.memory().used, weights.host_bytes) == (weights._loaded.own.nbytes, 0)  # type: ignore[union-attr]
    device.faults = SimFaults(room_for_checksum_bytes=0, corrupt_copy_in_at_byte=7)
    other = make(load, mirror="drop")
    with pytest.raises(Exception, match="other bytes arrived"):
        other.wake()


def no_memory(data: torch.Tensor) -> int:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")


def test_an_odd_tensor_leaves_and_what_changed_in_it_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = on_gpu(make(load_odd))
    with held(weights) as model:
        model[1].weight.detach()._values().mul_(2)
    changed = answer(weights)
    once = [no_memory]

    def checksum(data: torch.Tensor) -> int:
        return once.pop()(data) if once else real_checksum(data)

    monkeypatch.setattr(apart, "checksum", checksum)
    weights.offload()
    assert not once
    assert weights.dirty
    weights.restore()
    assert torch.equal(answer(weights), changed)


def test_an_odd_tensor_that_can_not_be_verified_is_not_left_there(
    make: Make, device: SimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make(load_odd)
    weights.load()
    with monkeypatch.context() as patch:
        patch.setattr(apart, "checksum", no_memory)
        with pytest.raises(DeviceFull):
            weights.restore()
    assert (weights.residency, device.memory().used) == (Residency.CPU, 0)
    weights.restore()
