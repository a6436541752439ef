"""Faults of the device: each move rolls back to a whole tier, the memory is where it was, the next try works."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import CopyFailed, DeviceFull, HostFull, IntegrityError, LoadFailed
from dormouse_modelserver.engines.torch.layout.asleep import is_asleep
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory
from torch import nn

from tests.modelserver.zoo import X, seeded

from .using import held, on_gpu, weights_on

Make = Callable[..., Weights[Any]]
load = seeded(lambda: nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8)))


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model, torch.inference_mode():
        return torch.as_tensor(model(X)).clone()


@pytest.fixture
def asleep(make: Make) -> Weights[Any]:
    weights = on_gpu(make(load))
    weights.offload()
    return weights


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        pytest.param(SimFaults(corrupt_copy_in_at_byte=0), IntegrityError, id="first byte flipped"),
        pytest.param(SimFaults(corrupt_copy_in_at_byte=4097), IntegrityError, id="a byte in the middle flipped"),
        pytest.param(SimFaults(fail_copy_in_at_byte=0), CopyFailed, id="copy fails at once"),
        pytest.param(SimFaults(fail_copy_in_at_byte=2000), CopyFailed, id="copy fails half-way"),
        pytest.param(SimFaults(full_at_byte=1000), DeviceFull, id="no room"),
    ],
)
def test_a_restore_that_fails_leaves_the_weights_in_host_ram(
    asleep: Weights[Any], device: SimDevice, faults: SimFaults, error: type[Exception]
) -> None:
    device.faults = faults
    for _ in range(3):
        with pytest.raises(error):
            asleep.restore()
        assert asleep.residency is Residency.CPU
        assert (device.memory().used, asleep.device_bytes) == (0, 0)
        assert is_asleep(asleep.model[0].weight), "nothing of the failed arena is held"
    device.faults = SimFaults()
    asleep.restore()
    assert torch.equal(answer(asleep), answer(on_gpu(weights_on(SimDevice("sim"), load))))


def test_a_failed_copy_at_offload_leaves_the_changed_weights_on_the_device(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(load))
    with held(weights) as model:
        model[0].weight.data += 1
    changed, used = answer(weights), device.memory().used
    device.faults.fail_copy_out = True
    for _ in range(2):
        with pytest.raises(CopyFailed):
            weights.offload()
        assert weights.residency is Residency.GPU
        assert device.memory().used == used
        assert torch.equal(answer(weights), changed)
    device.faults = SimFaults()
    weights.offload()
    weights.restore()
    assert torch.equal(answer(weights), changed), "the torn host copy was made whole"


def test_a_torn_host_copy_is_made_whole_even_when_the_change_was_taken_back(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(load))
    original = answer(weights)
    with held(weights) as model:
        model[0].weight.data.mul_(2)
    device.faults.fail_copy_out = True
    with pytest.raises(CopyFailed):
        weights.offload()
    device.faults = SimFaults()
    with held(weights) as model:
        model[0].weight.data.div_(2)
    weights.offload()
    weights.restore()
    assert torch.equal(answer(weights), original)
    weights.unload()


def test_a_full_device_says_what_is_needed_and_what_there_is(make: Make) -> None:
    small = SimDevice("sim:2000", 2000)
    other = small.allocate(500)
    weights = weights_on(small, load)
    weights.load()
    with pytest.raises(DeviceFull, match=rf"room for 1500 bytes and {weights.host_bytes} are needed") as full:
        weights.restore()
    assert (full.value.need_bytes, full.value.room_bytes) == (weights.host_bytes, 1500)
    assert weights.residency is Residency.CPU
    assert small.memory().used == 500
    other.close()


def test_a_full_host_refuses_the_load_and_keeps_nothing(make: Make) -> None:
    weights = make(load, host_memory=lambda: HostMemory(10_000, 1000))
    with pytest.raises(HostFull, match="room for 1000 bytes"):
        weights.load()
    assert (weights.residency, weights.host_bytes) == (Residency.UNLOADED, 0)


def test_changed_weights_that_host_ram_has_no_room_for_stay_on_the_device(make: Make) -> None:
    room = [1 << 30]
    weights = on_gpu(make(load, host_memory=lambda: HostMemory(1 << 30, room[0])))
    with held(weights) as model:
        model[0].weight = nn.Parameter(torch.ones(64, 8))
    changed = answer(weights)
    room[0] = 1000
    with pytest.raises(HostFull):
        weights.offload()
    assert weights.residency is Residency.GPU
    assert torch.equal(answer(weights), changed)
    room[0] = 1 << 30
    weights.offload()
    weights.restore()
    assert torch.equal(answer(weights), changed)


def test_a_warm_up_runs_before_anyone_may_use_the_model_and_its_failure_is_told(make: Make, device: SimDevice) -> None:
    seen: list[float] = []

    def warm_up(model: Any) -> None:
        seen.append(float(model(X).detach().sum()))
        if len(seen) == 2:
            raise ValueError("no such voice")

    weights = on_gpu(make(load, warm_up=warm_up))
    assert not weights.gate.open
    weights.offload()
    with pytest.raises(LoadFailed, match="warm_up of model 'tts' raised ValueError: no such voice"):
        weights.restore()
    assert (weights.residency, weights.gate.open, device.memory().used) == (Residency.CPU, False, 0)
    weights.restore()
    assert seen[0] == seen[1] == seen[2]
