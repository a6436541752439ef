"""Models that share an encoder, as a text-to-speech service and a voice search do."""

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import X, seeded

from .using import held, weights_on

# The seed is the process's.
_seeding = threading.Lock()


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with _seeding:
        return seeded(make)()  # type: ignore[no-any-return]


class Part(nn.Module):
    """A pipeline of a shared encoder (and perhaps a shared middle) and a head of its own."""

    def __init__(self, encoder: nn.Module, head: int, middle: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.middle = middle if middle is not None else nn.Identity()
        self.head = made(lambda: nn.Linear(8, head))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.head(self.middle(self.encoder(x))))


class Cache:
    """Keeps what is shared only as long as a model does."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[str, nn.Module] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        self.made = 0

    def get(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        with self._lock:
            module = self._known.get(name)
            if module is None:
                module = self._known[name] = made(make)
                self.made += 1
            return module

    def encoder(self) -> nn.Module:
        return self.get("encoder", lambda: nn.Linear(8, 8))

    def middle(self) -> nn.Module:
        return self.get("middle", lambda: nn.Sequential(nn.Linear(8, 8), nn.Tanh()))


class Family:
    """`a` and `b` share the encoder, `b` and `c` the middle; the encoder is in all three."""

    def __init__(self, device: SimDevice, **options: Any) -> None:
        self.device, self.cache = device, Cache()
        self.engine = options.pop("engine", None) or TorchProcess(device)
        get = self.cache
        self.loads: dict[str, Callable[[], Part]] = {
            "a": lambda: Part(get.encoder(), 3),
            "b": lambda: Part(get.encoder(), 5, get.middle()),
            "c": lambda: Part(get.encoder(), 7, get.middle()),
        }
        self.twins = {name: answer_of(load()) for name, load in self.loads.items()}
        self.a, self.b, self.c = (
            weights_on(device, load, name=name, engine=self.engine, **options) for name, load in self.loads.items()
        )

    def right(self, weights: Weights[Any], name: str) -> bool:
        return torch.equal(answer(weights), self.twins[name])


def answer_of(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model.eval()(X)).clone()


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model:
        return answer_of(model)
