"""Tied weights, views and shared modules are still one thing after every move, not equal copies."""

from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver.engines.torch.layout.asleep import is_asleep
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import ZOO, Tied, Twice, Views

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


def moved(weights: Weights[Any]) -> Any:
    on_gpu(weights)
    weights.offload()
    weights.restore()
    return weights.model


def test_tied_parameters_stay_one_parameter(make: Make) -> None:
    model: Tied = moved(make(ZOO["tied"].load))
    assert model.head.weight is model.embedding.weight
    assert model.same_storage is not model.embedding.weight
    assert model.same_storage.data_ptr() == model.embedding.weight.data_ptr()


def test_a_write_through_one_name_is_seen_through_the_other(make: Make) -> None:
    model: Tied = moved(make(ZOO["tied"].load))
    with torch.no_grad():
        model.embedding.weight.fill_(3)
    assert bool((model.head.weight == 3).all())
    assert bool((model.same_storage == 3).all())


def test_views_keep_their_storage_offset_and_strides(make: Make) -> None:
    twin: Views = ZOO["views"].load()
    model: Views = moved(make(ZOO["views"].load))
    start = model.base.data_ptr()
    for name in ("transposed", "windows", "spread"):
        view, unmoved = getattr(model, name), getattr(twin, name)
        assert view.data_ptr() - start == unmoved.data_ptr() - twin.base.data_ptr(), name
        assert (view.shape, view.stride()) == (unmoved.shape, unmoved.stride()), name
    model.base[4] = 42
    assert model.transposed[0, 0] == 42


def test_a_storage_is_packed_once_however_many_tensors_view_it(make: Make) -> None:
    weights = make(ZOO["views"].load)
    weights.load()
    assert weights.host_bytes == 512, "100 float32 values, rounded up to 256 bytes"


def test_a_module_used_twice_stays_one_module(make: Make) -> None:
    model: Twice = moved(make(ZOO["shared twice"].load))
    assert model.again is model.one is model.layers[0] is model.layers[2]


def test_channels_last_stays_channels_last(make: Make) -> None:
    model = moved(make(ZOO["channels last and batch norm"].load))
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.conv.weight.is_contiguous()


def test_views_of_other_dtypes_in_one_storage_stay_views(make: Make) -> None:
    class Reinterpreted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("raw", torch.arange(64, dtype=torch.uint8))
            self.register_buffer("floats", self.raw[8:40].view(torch.float32))

    model = moved(make(Reinterpreted))
    assert model.floats.data_ptr() == model.raw.data_ptr() + 8
    assert model.floats.view(torch.uint8).tolist() == list(range(8, 40))


def test_only_the_chosen_modules_move(make: Make) -> None:
    weights = on_gpu(make(ZOO["pipeline"].load, modules=lambda pipeline: (pipeline.encoder, pipeline.decoder)))
    size = sum(p.numel() * 4 for p in weights.model.decoder.parameters())
    assert 0 < weights.device_bytes - size < 4 * 256
    weights.offload()
    assert weights.model.vocoder.weight_ih_l0.numel() > 0
    assert is_asleep(weights.model.encoder.weight)
    weights.restore()
    with held(weights) as pipeline:
        assert bool((ZOO["pipeline"].answer(pipeline) == ZOO["pipeline"].answer(ZOO["pipeline"].load())).all())
