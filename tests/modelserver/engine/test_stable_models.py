"""A model with stable addresses: after each wake its tensors are where captured graphs know them."""

from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import ZOO

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


def addresses(model: nn.Module) -> list[int]:
    return [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]


def test_the_addresses_are_the_same_after_each_wake(make: Make, device: SimDevice) -> None:
    exhibit = ZOO["transformer"]
    weights = on_gpu(make(exhibit.load, stable_addresses=True))
    before, twin = addresses(weights.model), exhibit.answer(exhibit.load())
    for _ in range(5):
        weights.offload()
        assert device.memory().used == 0
        other = device.allocate(1 << 20)
        weights.restore()
        assert addresses(weights.model) == before
        with held(weights) as model:
            assert torch.equal(exhibit.answer(model), twin)
        other.close()


def test_changes_in_place_survive_and_the_addresses_stay(make: Make) -> None:
    weights = on_gpu(make(ZOO["linear"].load, stable_addresses=True))
    before = addresses(weights.model)
    with held(weights) as model:
        model.weight.data += 1
        changed = ZOO["linear"].answer(model)
    weights.offload()
    weights.restore()
    assert addresses(weights.model) == before
    with held(weights) as model:
        assert torch.equal(ZOO["linear"].answer(model), changed)


def test_unloaded_it_holds_neither_memory_nor_addresses(make: Make, device: SimDevice) -> None:
    weights = make(ZOO["linear"].load, stable_addresses=True, mirror="drop")
    for _ in range(3):
        weights.wake()
        weights.unload()
        assert (device.memory().used, weights.host_bytes) == (0, 0)
