"""A model in which nothing is found is refused: "on the GPU" with 0 bytes would not be true."""

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_modelserver import LoadFailed, Residency
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from .using import on_gpu

Make = Callable[..., Weights[Any]]


class LoadsAtItsFirstUse:
    def __init__(self) -> None:
        self.model: nn.Module | None = None


class ModuleThatLoadsAtItsFirstUse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = None


def hidden_in_a_function() -> Callable[[], object]:
    return ModuleThatLoadsAtItsFirstUse


NOTHING: dict[str, Callable[[], Any]] = {
    "an object that loads at its first use": LoadsAtItsFirstUse,
    "a module that loads at its first use": ModuleThatLoadsAtItsFirstUse,
    "one in torch's own": lambda: nn.Sequential(ModuleThatLoadsAtItsFirstUse()),
    "a function": lambda: print,
    "a function of the user's": hidden_in_a_function,
    "a path": lambda: "model.safetensors",
    "an empty list": list,
    "loose tensors alone": lambda: types.SimpleNamespace(codec=types.SimpleNamespace(codebook=torch.ones(4))),
    "a parameter without elements": lambda: types.SimpleNamespace(weight=nn.Parameter(torch.empty(0, 8))),
}


@pytest.mark.parametrize("load", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_that_moves_is_refused_with_what_to_write(make: Make, load: Callable[[], Any]) -> None:
    weights = make(load)
    with pytest.raises(LoadFailed, match=r"no weights were found.*modules=lambda app"):
        weights.wake()
    assert (weights.residency, weights.host_bytes, weights.device.memory().used) == (Residency.UNLOADED, 0, 0)


def test_what_was_seen_and_does_not_move_is_in_the_sentence(make: Make) -> None:
    with pytest.raises(LoadFailed, match=r"codec\.codebook"):
        make(NOTHING["loose tensors alone"]).wake()


@pytest.mark.parametrize("load", [nn.Identity, nn.ReLU, lambda: nn.Sequential(nn.Dropout(), nn.Tanh())])
def test_torchs_own_layers_without_weights_are_all_that_there_is_of_them(make: Make, load: Callable[[], Any]) -> None:
    assert on_gpu(make(load)).device_bytes == 0


@pytest.mark.parametrize("picked", [None, (), "model", {"model": 1}], ids=repr)
def test_modules_that_picks_nothing_is_refused(make: Make, picked: Any) -> None:
    with pytest.raises(LoadFailed, match="give a tuple"):
        make(lambda: nn.Linear(2, 2), modules=lambda _: picked).wake()


@pytest.mark.parametrize("picked", [(object(),), (3,), (nn.ReLU, "model")], ids=["an object", "a number", "a class"])
def test_modules_that_picks_what_has_no_weights_is_told_of_that(make: Make, picked: Any) -> None:
    with pytest.raises(LoadFailed, match="modules of model 'tts' picked nothing that has weights"):
        make(lambda: nn.Linear(2, 2), modules=lambda _: picked).wake()


def test_modules_that_raises_is_not_taken_for_the_load(make: Make) -> None:
    with pytest.raises(LoadFailed, match=r"modules of model 'tts' raised AttributeError: .*has no attribute 'codec'"):
        make(lambda: types.SimpleNamespace(model=nn.Linear(2, 2)), modules=lambda app: (app.codec,)).wake()


def test_a_load_that_is_async_is_told_what_to_write(make: Make) -> None:
    async def load() -> nn.Module:
        return nn.Linear(2, 2)

    with pytest.raises(LoadFailed, match="returned a coroutine; write `def`"):
        make(load).wake()


@pytest.mark.parametrize("pick", [lambda app: app.a, lambda app: [app.a], lambda app: (app.a,)])
def test_modules_may_pick_one_or_several(make: Make, pick: Callable[[Any], Any]) -> None:
    app = types.SimpleNamespace(a=nn.Linear(8, 8, bias=False), b=nn.Linear(8, 8))
    assert on_gpu(make(lambda: app, modules=pick)).device_bytes == 256
