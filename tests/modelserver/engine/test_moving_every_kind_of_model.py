"""Whatever shape the weights have: after every path the answer is, bit for bit, that of a twin never moved."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights

from tests.modelserver.zoo import ZOO, Exhibit

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]
every_kind = pytest.mark.parametrize("exhibit", ZOO.values(), ids=ZOO.keys())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


@every_kind
def test_the_answer_after_offload_and_restore_is_the_twins(make: Make, device: SimDevice, exhibit: Exhibit) -> None:
    twin = exhibit.answer(exhibit.load())
    weights = on_gpu(make(exhibit.load))
    for _ in range(3):
        with held(weights) as model:
            assert same(exhibit.answer(model), twin)
        weights.offload()
        assert weights.residency is Residency.CPU
        assert device.memory().used == 0
        weights.restore()
    with held(weights) as model:
        assert same(exhibit.answer(model), twin)


@every_kind
def test_the_answer_after_unload_and_load_is_the_twins(make: Make, device: SimDevice, exhibit: Exhibit) -> None:
    twin = exhibit.answer(exhibit.load())
    weights = make(exhibit.load)
    for _ in range(2):
        on_gpu(weights)
        with held(weights) as model:
            assert same(exhibit.answer(model), twin)
        weights.unload()
        assert weights.residency is Residency.UNLOADED
        assert device.memory().used == 0


@every_kind
def test_unchanged_weights_are_not_copied_at_offload(make: Make, exhibit: Exhibit) -> None:
    weights = on_gpu(make(exhibit.load))
    with held(weights) as model:
        exhibit.answer(model)
    weights.offload()
    weights.restore()
    weights.offload()
    assert (weights.speed.offload_bytes_copied, weights.dirty) == (0, False)


@every_kind
def test_what_the_device_counts_is_what_the_weights_say(make: Make, device: SimDevice, exhibit: Exhibit) -> None:
    weights = on_gpu(make(exhibit.load))
    assert weights.device_bytes == device.memory().used
    released = weights.offload()
    assert (released.residual, released.method) == (0, "sim")
    assert released.nbytes == weights.host_bytes or exhibit.stays
    assert weights.device_bytes == 0


@every_kind
def test_what_can_not_be_packed_is_reported_with_its_path_and_a_reason(make: Make, exhibit: Exhibit) -> None:
    weights = on_gpu(make(exhibit.load))
    reported = [line.split(": ", 1) for line in weights.moved_apart]
    assert tuple(path for path, _ in reported) == exhibit.apart
    assert any("stays in host RAM" in reason for _, reason in reported) == exhibit.stays


def test_the_object_is_the_users_own_and_stays_the_same(make: Make) -> None:
    made = []

    def load() -> torch.nn.Module:
        made.append(torch.nn.Linear(8, 8))
        return made[-1]

    weights = on_gpu(make(load))
    before = dict(made[0].named_parameters())
    weights.offload()
    weights.restore()
    assert weights.model is made[0]
    assert len(made) == 1
    after = dict(made[0].named_parameters())
    assert all(after[name] is before[name] for name in before)
    assert all(parameter.requires_grad for parameter in after.values())
