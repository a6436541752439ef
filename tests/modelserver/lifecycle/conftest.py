"""A manager on a simulated device, with one model that answers 2x + 1."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from dormouse_modelserver import Model, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from torch import nn

Manage = Callable[..., ResidencyManager]


def load_doubler() -> nn.Linear:
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight.copy_(2 * torch.eye(4))
        layer.bias.fill_(1)
    return layer


def ask(model: nn.Linear, value: float) -> float:
    with torch.inference_mode():
        return float(model(torch.full((1, 4), float(value)))[0, 0])


class Loads:
    """Counts the loads, and holds them up while `may_go_on` is not set."""

    def __init__(self) -> None:
        self.count = 0
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        self.fails: BaseException | None = None

    def __call__(self) -> nn.Linear:
        self.count += 1
        self.began.set()
        assert self.may_go_on.wait(30)
        if self.fails is not None:
            raise self.fails
        return load_doubler()


class Stop:
    """Holds a copy up: `reached` when it is there, until `go`."""

    def __init__(self) -> None:
        self.reached, self._go, self.times = threading.Event(), threading.Event(), 0

    def __call__(self) -> None:
        self.times += 1
        self.reached.set()
        assert self._go.wait(30)

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def manage() -> Iterator[Manage]:
    managers: list[ResidencyManager] = []

    def manage(device: str = "sim:1MiB", **settings: Any) -> ResidencyManager:
        managers.append(ResidencyManager(device, socket="", **settings))
        return managers[-1]

    yield manage
    for manager in managers:
        manager.close()


@pytest.fixture
def manager(manage: Manage) -> ResidencyManager:
    return manage()


@pytest.fixture
def device(manager: ResidencyManager) -> SimDevice:
    assert isinstance(manager.device, SimDevice)
    return manager.device


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def tts(manager: ResidencyManager, loads: Loads) -> Model[nn.Linear]:
    return manager.register("tts", load=loads)


@pytest.fixture
def changed(tts: Model[nn.Linear]) -> Model[nn.Linear]:
    """On the GPU with a changed weight, so that an offload copies (and can be held up there)."""
    with tts.on_gpu() as model:
        model.bias.data += 1
    return tts
