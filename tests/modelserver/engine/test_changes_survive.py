"""Each way to write a weight is found at the next demotion, and the change is there after the next wake."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import ModelChanged
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import X, seeded

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("cache", torch.zeros(8), persistent=False)
        self.plain = torch.ones(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.norm(self.linear(x)) * self.plain + self.cache)


load_net = seeded(Net)


def in_place(model: Net) -> None:
    with torch.no_grad():
        model.linear.weight.mul_(2)


def data_plus(model: Net) -> None:
    model.linear.weight.data += torch.ones(8, 8)  # how PEFT merges a LoRA


def data_add(model: Net) -> None:
    model.linear.weight.data.add_(1)


def through_the_storage(model: Net) -> None:
    model.linear.weight.untyped_storage()[model.linear.weight.storage_offset() * 4 + 3] ^= 1


def through_numpy(model: Net) -> None:
    model.linear.weight.detach().numpy()[3, 3] = 9


def swapped_rows(model: Net) -> None:
    with torch.no_grad():
        model.linear.weight[[0, 1]] = model.linear.weight[[1, 0]]


def negated_columns(model: Net) -> None:
    model.linear.weight.data[:, 7].neg_()


def running_statistics(model: Net) -> None:
    model.norm.train()
    with torch.inference_mode():
        model(X)
    model.norm.eval()


def cache_kept_as_a_buffer(model: Net) -> None:
    model.cache[2] = 5


def other_data(model: Net) -> None:
    model.linear.weight.data = torch.full((8, 8), 0.25)


def other_shape(model: Net) -> None:
    model.linear.weight.data = model.linear.weight.data[:4].clone()
    model.linear.bias.data = torch.zeros(4)
    model.linear.weight.data = torch.cat([model.linear.weight.data, torch.ones(4, 8)])
    model.linear.bias.data = torch.ones(8)


def other_parameter(model: Net) -> None:
    model.linear.weight = nn.Parameter(torch.eye(8))


def transposed(model: Net) -> None:
    model.linear.weight.data = model.linear.weight.data.t()


def new_parameter(model: Net) -> None:
    model.linear.register_parameter("lora", nn.Parameter(torch.ones(8)))
    model.linear.bias.data += 1


WRITES = [
    in_place,
    data_plus,
    data_add,
    through_the_storage,
    through_numpy,
    swapped_rows,
    negated_columns,
    running_statistics,
    cache_kept_as_a_buffer,
    other_data,
    other_shape,
    other_parameter,
    transposed,
    new_parameter,
]
each_write = pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model, torch.inference_mode():
        return torch.as_tensor(model(X)).clone()


@each_write
def test_a_write_is_found_and_survives(make: Make, write: Callable[[Net], None]) -> None:
    weights = on_gpu(make(load_net))
    original = answer(weights)
    with held(weights) as model:
        write(model)
    changed = answer(weights)
    assert not torch.equal(changed, original), "the write changes the answer"
    weights.offload()
    assert weights.dirty
    assert weights.speed.offload_bytes_copied > 0
    weights.restore()
    assert torch.equal(answer(weights), changed)
    weights.offload()
    assert weights.speed.offload_bytes_copied == 0, "the same change is not copied again"
    weights.restore()
    assert torch.equal(answer(weights), changed)


@each_write
def test_an_unload_of_written_weights_is_refused_and_the_model_goes_on(
    make: Make, device: SimDevice, write: Callable[[Net], None]
) -> None:
    weights = on_gpu(make(load_net))
    with held(weights) as model:
        write(model)
    changed = answer(weights)
    with pytest.raises(ModelChanged, match="unload_changes='discard'"):
        weights.unload()
    assert weights.residency is Residency.GPU
    assert weights.device_bytes == device.memory().used
    assert torch.equal(answer(weights), changed)
    weights.offload()
    with pytest.raises(ModelChanged):
        weights.unload()
    assert weights.residency is Residency.CPU
    weights.restore()
    assert torch.equal(answer(weights), changed)


def test_discard_unloads_changed_weights_and_loads_the_first_ones_again(make: Make) -> None:
    weights = on_gpu(make(load_net, unload_changes="discard"))
    original = answer(weights)
    with held(weights) as model:
        in_place(model)
    weights.unload()
    assert torch.equal(answer(on_gpu(weights)), original)


def test_a_change_that_was_taken_back_no_longer_hinders_an_unload(make: Make) -> None:
    weights = on_gpu(make(load_net))
    with held(weights) as model:
        model.linear.weight.data.mul_(2)
    weights.offload()
    assert weights.dirty
    weights.restore()
    with held(weights) as model:
        model.linear.weight.data.div_(2)
    weights.unload()
    assert weights.residency is Residency.UNLOADED


def test_a_change_that_was_taken_back_after_a_refused_unload_is_none(make: Make) -> None:
    weights = on_gpu(make(load_net))
    with held(weights) as model:
        model.linear.weight.data.mul_(2)
    with pytest.raises(ModelChanged):
        weights.unload()
    assert weights.dirty
    with held(weights) as model:
        model.linear.weight.data.div_(2)
    weights.offload()
    assert not weights.dirty
    weights.unload()
    assert weights.residency is Residency.UNLOADED


def test_a_plain_tensor_travels_but_does_not_hinder_an_unload(make: Make) -> None:
    """Dirty covers parameters and buffers; other tensors are made anew by `load`."""
    weights = on_gpu(make(load_net))
    with held(weights) as model:
        model.plain[0] = 7
    weights.offload()
    assert not weights.dirty
    weights.restore()
    assert weights.model.plain[0] == 7
    weights.unload()


def test_frozen_is_a_promise_changes_are_lost_and_nothing_is_checked(make: Make) -> None:
    weights = on_gpu(make(load_net, frozen=True))
    original = answer(weights)
    with held(weights) as model:
        in_place(model)
    weights.offload()
    assert (weights.dirty, weights.speed.offload_bytes_copied) == (False, 0)
    weights.restore()
    assert torch.equal(answer(weights), original)


def test_replacing_a_weight_each_time_does_not_make_the_model_grow(make: Make) -> None:
    weights = on_gpu(make(load_net))
    size = weights.device_bytes
    for value in range(5):
        with held(weights) as model:
            model.linear.weight.data = torch.full((8, 8), float(value))
        weights.offload()
        weights.restore()
        assert weights.device_bytes == size
