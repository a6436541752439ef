"""A module is found wherever it is: in an object of the user's own at any depth, in a closure, in a container."""

import concurrent.futures
import contextlib
import functools
import itertools
import logging
import queue
import threading
import types
import weakref
from collections import UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
from dormouse_modelserver.engines.torch.layout import objects
from dormouse_modelserver.engines.torch.layout.inventory import Known, take_inventory
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import X

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]
CODEC_BYTES = 8 * 8 * 4


class Plain:
    """An object of the user's own, with whatever attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@dataclass
class Part:
    codec: nn.Module
    rest: dict[str, Any] = field(default_factory=dict)


class Pair(NamedTuple):
    rate: int
    part: Any


class Slotted:
    __slots__ = ("__hidden", "__weakref__", "empty")

    def __init__(self, hidden: Any) -> None:
        self.__hidden = hidden


class Lazy:
    """Gives it by a property, and keeps it elsewhere."""

    def __init__(self, codec: nn.Module) -> None:
        self._made = {"codec": codec}

    @property
    def codec(self) -> nn.Module:
        return self._made["codec"]


class Bound:
    def __init__(self, codec: nn.Module) -> None:
        self.codec = codec

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.codec(x))


class Voices(dict[str, Any]):
    """A container with attributes."""


def in_voices(codec: nn.Module) -> Voices:
    voices = Voices(rate=3)
    voices.codec = codec  # type: ignore[attr-defined]
    return voices


def in_a_queue(codec: nn.Module) -> "queue.Queue[Any]":
    pool: queue.Queue[Any] = queue.Queue()
    pool.put(Part(codec))
    return pool


def in_a_generator(codec: nn.Module) -> Iterator[torch.Tensor]:
    def answers() -> Iterator[torch.Tensor]:
        while True:
            yield codec(X)

    generator = answers()
    next(generator)
    return generator


def in_a_decorated_function(codec: nn.Module) -> Callable[..., Any]:
    def encode(x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(codec(x))

    @functools.wraps(encode)
    def timed(*args: Any) -> Any:
        return encode(*args)

    return timed


def deep(codec: nn.Module) -> Plain:
    inner: Any = codec
    for number in range(5_000):
        inner = Plain(inner=inner, number=number)
    return inner  # type: ignore[no-any-return]


def in_a_ring(codec: nn.Module) -> Plain:
    first, second = Plain(), Plain(codec=codec)
    first.other, second.other = second, first
    first.all = [first, second]
    return first


KEY = Plain()


def in_a_dict_of_weak_keys(codec: nn.Module) -> "weakref.WeakKeyDictionary[Plain, nn.Module]":
    return weakref.WeakKeyDictionary({KEY: codec})


def in_a_future(codec: nn.Module) -> "concurrent.futures.Future[nn.Module]":
    future: concurrent.futures.Future[nn.Module] = concurrent.futures.Future()
    future.set_result(codec)
    return future


def in_a_cache(codec: nn.Module) -> Callable[[], nn.Module]:
    return functools.lru_cache(lambda: codec)


def in_a_stack(codec: nn.Module) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.callback(codec.eval)
    return stack


def hooked(codec: nn.Module, how: str = "register_forward_hook") -> nn.Module:
    module = nn.Identity()
    getattr(module, how)(lambda module, args, *answer: codec(args[0]))
    return module


HOLDERS: dict[str, Callable[[nn.Module], Any]] = {
    "an object": lambda codec: Plain(model=codec),
    "an object in an object": lambda codec: Plain(frontend=Plain(speech=Plain(model=codec))),
    "a dataclass": Part,
    "a dict of a dataclass": lambda codec: Part(nn.Identity(), {"codec": codec}),
    "a named tuple": lambda codec: Pair(16_000, Part(codec)),
    "slots with a private name": Slotted,
    "what a property gives": Lazy,
    "objects in a list": lambda codec: [Plain(), Plain(codec=codec)],
    "objects in dicts": lambda codec: {"a": {"b": Plain(codec=codec)}},
    "a deque": lambda codec: Plain(last=deque([codec])),
    "a namespace": lambda codec: types.SimpleNamespace(codec=codec),
    "a mapping of the user's": lambda codec: UserDict(codec=codec),
    "a dict with attributes": in_voices,
    "a queue": in_a_queue,
    "a closure": in_a_decorated_function,
    "a lambda": lambda codec: lambda x: codec(x),
    "a default": lambda codec: lambda x, codec=codec: codec(x),
    "a partial": lambda codec: functools.partial(nn.Module.__call__, codec),
    "a partial of a method": lambda codec: functools.partial(Bound(codec).encode),
    "a bound method": lambda codec: Bound(codec).encode,
    "a method of the module": lambda codec: codec.forward,
    "a generator": in_a_generator,
    "five thousand objects deep": deep,
    "a ring": in_a_ring,
    "a dict of weak keys": in_a_dict_of_weak_keys,
    "a key of a dict": lambda codec: {codec: "the codec"},
    "a factory of a dict": lambda codec: defaultdict(lambda: codec),
    "a mapping that can't be written to": lambda codec: types.MappingProxyType({"codec": codec}),
    "what is to come of a thread": in_a_future,
    "models in turn": lambda codec: itertools.cycle([codec]),
    "an iterator": lambda codec: iter([codec]),
    "a function that remembers": in_a_cache,
    "a context": lambda codec: contextlib.nullcontext(codec),
    "a stack of contexts": in_a_stack,
    "a cell": types.CellType,
    "a hook": hooked,
    "a hook before": lambda codec: hooked(codec, "register_forward_pre_hook"),
    "a thread of the user's": lambda codec: Worker(codec),
}


class Worker(threading.Thread):
    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec


class App:
    def __init__(self, holder: Callable[[nn.Module], Any]) -> None:
        torch.manual_seed(3)
        self.model, codec = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.tokenizer = holder(codec)
        self.ask = weak(codec)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.model(self.ask()(x)))


def weak(codec: nn.Module) -> Callable[[], Any]:
    """Nothing is found through this one."""
    return weakref.ref(codec)


class InAModule(App, nn.Module):
    def __init__(self, holder: Callable[[nn.Module], Any]) -> None:
        nn.Module.__init__(self)
        App.__init__(self, holder)

    forward = App.__call__

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(nn.Module.__call__(self, x))


@pytest.mark.parametrize("root", [App, InAModule], ids=["object", "module"])
@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_it_moves_with_the_model_and_the_answers_stay_the_same(
    make: Make, device: SimDevice, holder: Callable[[nn.Module], Any], root: type[App]
) -> None:
    with torch.inference_mode():
        twin = root(holder)(X).clone()
    weights = make(lambda: root(holder))
    for move in (weights.offload, weights.offload, weights.unload, weights.offload):
        on_gpu(weights)
        assert weights.device_bytes == device.memory().used >= CODEC_BYTES + 8 * 8 * 4 + 8 * 4
        with held(weights) as model, torch.inference_mode():
            assert torch.equal(model(X), twin)
        move()
        assert device.memory().used == 0
    assert weights.moved_apart == ()


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_it_may_be_the_root_itself(make: Make, holder: Callable[[nn.Module], Any]) -> None:
    root = holder(nn.Linear(8, 8, bias=False))
    assert sum(found.tensor.nbytes for found in take_inventory(root).tensors) == CODEC_BYTES


def test_a_part_that_loads_at_its_first_use_moves_from_then_on(make: Make, device: SimDevice) -> None:
    def load() -> Plain:
        return Plain(model=nn.Linear(8, 8), tokenizer=Plain(frontend=Plain(codec=None)))

    weights = on_gpu(make(load, unload_changes="discard"))
    before = weights.device_bytes
    with held(weights) as model:
        model.tokenizer.frontend.codec = nn.Linear(8, 8, bias=False)
    weights.offload()
    weights.restore()
    assert weights.device_bytes == device.memory().used == before + CODEC_BYTES
    with held(weights) as model, torch.inference_mode():
        model.tokenizer.frontend.codec(X)


def test_the_modules_that_were_found_so_are_in_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dormouse")
    make(lambda: Plain(model=nn.Linear(8, 8), tokenizer=Plain(codec=nn.Sequential(nn.Linear(8, 8))))).load()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "model tts: also moves what was found in plain objects: tokenizer.codec (Sequential)"


def test_a_large_part_without_any_is_not_looked_through_again() -> None:
    words = {f"word {number}": [Plain(sounds=["W", "ER", "D"])] for number in range(3_000)}
    app, known = Plain(model=nn.Linear(8, 8), g2p=Plain(words=words, codec=nn.Linear(8, 8))), Known()
    first = take_inventory(app, known=known)
    assert [part for part, _ in known.barren.parts.values()] == [words]
    words["word 0"] = Plain(codec=nn.Linear(8, 8))
    again = take_inventory(app, known=known)
    assert [found.path for found in again.tensors] == [found.path for found in first.tensors]
    words["one more"] = Plain(codec=nn.Linear(8, 8))
    assert len(take_inventory(app, known=known).tensors) == len(first.tensors) + 4, "its length has changed"


def nested(codec: nn.Module, depth: int) -> list[Any]:
    inner: list[Any] = [codec, torch.ones(4)]
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize("root", [types.SimpleNamespace, nn.Module])
def test_containers_may_be_nested_as_deep_as_they_like(root: type[Any]) -> None:
    app = root()
    app.__dict__["parts"] = nested(nn.Linear(8, 8, bias=False), 5_000)
    assert sum(found.tensor.nbytes for found in take_inventory(app).tensors) == CODEC_BYTES + 16


def test_an_attribute_of_a_container_moves_with_the_module_that_has_it() -> None:
    module, voices = nn.Module(), Voices(rate=3)
    voices.embedding = torch.ones(4)  # type: ignore[attr-defined]
    module.voices = voices
    assert [found.path for found in take_inventory(module).tensors] == ["voices.embedding"]


@pytest.mark.parametrize("root", [types.SimpleNamespace, nn.Module])
def test_a_dictionary_of_pronunciations_is_no_limit(monkeypatch: pytest.MonkeyPatch, root: type[Any]) -> None:
    monkeypatch.setattr(objects, "MOST_OBJECTS", 100)
    app = root()
    app.words = {f"word {number}": [["W", "ER", "D"], ["W", "D"]] for number in range(3_000)}
    app.g2p = Plain(words=app.words.copy())
    app.model = nn.Linear(8, 8)
    inventory = take_inventory(app)
    assert (len(inventory.tensors), inventory.opaque) == (2, ())
    app.words["word 7"][1].append(nn.Linear(8, 8))
    app.g2p.words["word 8"] = [nn.Linear(8, 8)]
    assert len(take_inventory(app).tensors) == 6
