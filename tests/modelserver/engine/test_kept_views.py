"""A tensor that somebody kept is a view of the weights: it keeps its bytes, and with them the memory."""

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_modelserver import DeviceFull, NoRoom, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.faults import SimFaults
from torch import nn

from tests.modelserver.zoo import seeded
from tests.waiting import until

_LAYER_BYTES = 64 * 64 * 4 + 64 * 4


def layer(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(64, 64)


def used(manager: ResidencyManager) -> int:
    return manager.device.memory().used


KEPT: dict[str, Callable[[nn.Linear], Any]] = {
    "a detached bias": lambda model: model.bias.detach(),
    "the data of a weight": lambda model: model.weight.data,
    "a row": lambda model: model.weight.detach()[3],
    "a transposed view": lambda model: model.weight.detach().t(),
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("stable", [False, True], ids=["", "stable addresses"])
def test_its_bytes_are_never_another_models(keep: Callable[[nn.Linear], Any], stable: bool) -> None:
    manager = ResidencyManager("sim:2GiB")
    a = manager.register("a", seeded(layer), stable_addresses=stable)
    b = manager.register("b", lambda: layer(1), stable_addresses=stable)
    with a.on_gpu() as model:
        view = keep(model)
        want = view.clone()
    a.move_to(Residency.CPU)
    for _ in range(3):
        with b.on_gpu():
            assert torch.equal(view, want)
        b.move_to(Residency.CPU)
    with a.on_gpu():
        assert torch.equal(view, want)
    a.move_to(Residency.UNLOADED)
    with b.on_gpu():
        assert torch.equal(view, want)


@pytest.mark.parametrize("stable", [False, True], ids=["", "stable addresses"])
def test_it_holds_the_memory_of_the_whole_model_until_it_is_gone(stable: bool, caplog: Any) -> None:
    manager = ResidencyManager("sim:2GiB")
    a = manager.register("a", layer, stable_addresses=stable)
    with a.on_gpu() as model:
        view = model.bias.detach()
    with caplog.at_level(logging.WARNING, "dormouse"):
        a.move_to(Residency.CPU)
    assert (a.snapshot().gpu_memory_bytes, used(manager)) == (0, _LAYER_BYTES)
    assert a.snapshot().last_transition.released_bytes == 0
    assert "1 tensor(s) outside the model" in caplog.text
    del view
    assert used(manager) == 0


def test_a_model_that_nobody_views_is_not_complained_of(caplog: Any) -> None:
    a = ResidencyManager("sim:2GiB").register("a", layer)
    for _ in range(3):
        with a.on_gpu() as model:
            kept = model(torch.ones(64)).detach(), model.bias.detach().clone()
        a.move_to(Residency.CPU)
    assert kept[0].isfinite().all()
    assert "outside the model" not in caplog.text


def test_memory_that_a_cycle_kept_is_free_after_a_collection() -> None:
    manager = ResidencyManager("sim:2GiB")
    a = manager.register("a", layer)
    gc.disable()
    try:
        with a.on_gpu() as model:
            cycle: list[Any] = [model.bias.detach()]
            cycle.append(cycle)
        del cycle
        a.move_to(Residency.CPU)
        assert used(manager) == _LAYER_BYTES
    finally:
        gc.enable()
    gc.collect()
    until(lambda: used(manager) == 0)  # a collection may be in the middle of anything, so it is freed elsewhere


def test_a_view_of_stable_addresses_shows_the_same_weights_and_the_address_stays() -> None:
    manager = ResidencyManager("sim:2GiB")
    a = manager.register("a", layer, stable_addresses=True)
    with a.on_gpu() as model:
        view, address = model.bias.detach(), model.weight.data_ptr()
    want = view.clone()
    for _ in range(3):
        a.move_to(Residency.CPU)
        assert torch.equal(view, want)
        with a.on_gpu() as model:
            assert model.weight.data_ptr() == address
            assert torch.equal(view, want)
    assert used(manager) == _LAYER_BYTES, "the memory that the view kept was taken over, not taken twice"
    a.move_to(Residency.CPU)
    del view
    assert used(manager) == 0


def test_a_full_device_counts_what_views_keep() -> None:
    manager = ResidencyManager(f"sim:{_LAYER_BYTES + 1000}")
    a, b = manager.register("a", layer), manager.register("b", layer)
    with a.on_gpu() as model:
        view = model.bias.detach()
    a.move_to(Residency.CPU)
    with pytest.raises(NoRoom), b.on_gpu(timeout=0.3):
        pass
    del view
    with b.on_gpu(timeout=30):
        pass


def test_the_error_of_a_full_device_is_gone_with_who_caught_it(make: Callable[..., Any], device: Any) -> None:
    """Kept by its own frames, it would keep their tensors until a collection."""
    weights = make(layer)
    weights.load()
    device.faults = SimFaults(full_at_byte=1)
    gc.disable()
    try:
        try:
            weights.wake()
        except DeviceFull as full:
            error = weakref.ref(full)
        assert error() is None
    finally:
        gc.enable()


WRITTEN: dict[str, Callable[[nn.Linear], torch.Tensor]] = {
    "an entry of state_dict": lambda model: model.state_dict()["weight"],
    "a detached weight": lambda model: model.weight.detach(),
    "a row": lambda model: model.weight.detach()[3],
}


@pytest.mark.parametrize("sleeps", [1, 2])
@pytest.mark.parametrize("keep", WRITTEN.values(), ids=WRITTEN)
def test_a_write_to_it_while_the_model_sleeps_is_named(
    keep: Callable[[nn.Linear], torch.Tensor], sleeps: int, caplog: Any
) -> None:
    model = ResidencyManager("sim:64MiB").register("tts", seeded(layer))
    with model.on_gpu() as module:
        view = keep(module)
    for _ in range(sleeps):
        with model.on_gpu() as module, torch.no_grad():
            module.weight.mul_(2)  # in its own right
        model.move_to(Residency.CPU)
    assert "while it slept" not in caplog.text
    view.zero_()
    with caplog.at_level(logging.WARNING), model.on_gpu() as module:
        assert torch.equal(module.weight, layer().weight * 2**sleeps)
    assert caplog.text.count("'weight' was written to while it slept") == 1
    caplog.clear()
    model.move_to(Residency.CPU)
    with model.on_gpu():
        assert "while it slept" not in caplog.text
