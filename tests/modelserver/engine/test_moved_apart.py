"""Tensors that can't be packed: reported, moved, changed and replaced while awake, and never left on the device."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from dormouse_modelserver import ModelChanged
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.odd_zoo import Odd, Scaled
from tests.modelserver.zoo import ZOO, Exhibit, seeded

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]
ODD = {name: exhibit for name, exhibit in ZOO.items() if exhibit.apart == ("weight",)}
each_odd = pytest.mark.parametrize("exhibit", ODD.values(), ids=ODD.keys())


def inner(tensor: torch.Tensor) -> torch.Tensor:
    """Something writable inside."""
    if isinstance(tensor, Scaled):
        return tensor.scale
    if tensor.layout is torch.sparse_coo:
        return tensor.detach()._values()
    if tensor.layout is torch.sparse_csr:
        return tensor.detach().values()
    return tensor.detach()


def change(tensor: torch.Tensor) -> None:
    if tensor.is_quantized:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensor.copy_(torch.full((8, 8), 0.5))
    else:
        inner(tensor).mul_(2)


def answer(exhibit: Exhibit, weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model:
        return exhibit.answer(model)


@each_odd
def test_a_change_made_while_awake_survives_and_hinders_an_unload(make: Make, exhibit: Exhibit) -> None:
    weights = on_gpu(make(exhibit.load))
    with held(weights) as model:
        change(model.weight)
    changed = answer(exhibit, weights)
    assert not torch.equal(changed, exhibit.answer(exhibit.load()))
    for _ in range(2):
        weights.offload()
        assert weights.dirty
        weights.restore()
        assert torch.equal(answer(exhibit, weights), changed)
    with pytest.raises(ModelChanged):
        weights.unload()
    assert torch.equal(answer(exhibit, weights), changed)


@each_odd
def test_one_replaced_while_awake_survives_and_the_old_one_leaves_the_device(
    make: Make, device: SimDevice, exhibit: Exhibit
) -> None:
    weights = on_gpu(make(exhibit.load))
    with held(weights) as model:
        other = exhibit.load().weight
        change(other)
        model.weight = other
    changed = answer(exhibit, weights)
    for _ in range(2):
        weights.offload()
        assert device.memory().used == 0
        weights.restore()
        assert device.memory().used == weights.device_bytes
        assert torch.equal(answer(exhibit, weights), changed)
    with pytest.raises(ModelChanged):
        weights.unload()


@each_odd
def test_an_ordinary_tensor_may_take_its_place_and_the_other_way_round(
    make: Make, device: SimDevice, exhibit: Exhibit
) -> None:
    weights = on_gpu(make(exhibit.load))
    with held(weights) as model:
        old = model.weight
        plain = torch.randn(8, 8, dtype=torch.complex64 if old.is_complex() else torch.float32)
        model.weight = nn.Parameter(plain) if isinstance(old, nn.Parameter) else plain
        del old, plain  # a tensor that is kept keeps the device's memory
    changed = answer(exhibit, weights)
    weights.offload()
    assert (device.memory().used, weights.moved_apart) == (0, ())
    weights.restore()
    assert torch.equal(answer(exhibit, weights), changed)
    with held(weights) as model:
        model.weight = exhibit.load().weight
    changed = answer(exhibit, weights)
    weights.offload()
    assert device.memory().used == 0
    weights.restore()
    assert len(weights.moved_apart) == 1
    assert torch.equal(answer(exhibit, weights), changed)


def test_one_that_is_taken_away_leaves_the_device(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(ZOO["attributes that change"].load))
    with held(weights) as model:
        del model.even_odd
    weights.offload()
    assert (device.memory().used, weights.moved_apart) == (0, ())


class Sealed(Scaled):
    """Does not say what is inside, and keeps it where nobody looks."""

    __slots__ = ("_box",)

    def __init__(self, inner: torch.Tensor, scale: torch.Tensor) -> None:
        self._box = (inner, scale)

    inner = property(lambda self: self._box[0])  # type: ignore[assignment]
    scale = property(lambda self: self._box[1])  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name == "__tensor_flatten__":
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_of_one_that_nobody_can_look_into_a_change_is_never_lost_by_an_unload(make: Make) -> None:
    def load() -> Odd:
        return Odd(Sealed(torch.ones(8, 8, dtype=torch.int8), torch.tensor(0.5)))

    weights = on_gpu(make(seeded(load)))
    with held(weights) as model:
        model.weight.scale.mul_(2)
    weights.offload()
    with pytest.raises(ModelChanged):
        weights.unload()


@dataclass(frozen=True)
class FrozenPipeline:
    layer: nn.Linear
    mask: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.layer(x) * self.mask.to_dense())


def test_a_frozen_dataclass_is_no_hindrance(make: Make, device: SimDevice) -> None:
    exhibit = Exhibit(seeded(lambda: FrozenPipeline(nn.Linear(8, 8), torch.eye(8)[:4].to_sparse())))
    weights = on_gpu(make(exhibit.load))
    twin = exhibit.answer(exhibit.load())
    weights.offload()
    assert device.memory().used == 0
    weights.restore()
    assert torch.equal(answer(exhibit, weights), twin)


def test_what_stays_in_host_ram_is_told_once_in_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    weights = make(ZOO["dynamically quantized"].load)
    for _ in range(2):
        on_gpu(weights).unload()
    told = [record.getMessage() for record in caplog.records if "not in the arena" in record.getMessage()]
    assert len(told) == 1
    assert "_packed_params" in told[0]


def test_one_that_was_moved_to_another_attribute_is_put_there_and_the_old_one_stays_gone(
    make: Make, device: SimDevice
) -> None:
    weights = make(ZOO["attributes that change"].load)
    weights.load()
    in_host_ram = weights.model.even_odd
    weights.restore()
    with held(weights) as model:
        model.kept = [model.__dict__.pop("even_odd")]
        model.even_odd_was = None
    weights.offload()
    assert weights.model.kept[0] is in_host_ram, "no reference to the device's copy is left"
    assert not hasattr(weights.model, "even_odd")
    assert device.memory().used == 0
