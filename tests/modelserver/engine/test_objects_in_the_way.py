"""Whatever else hangs on a model does not hinder its load: nothing of the user's is called to find the weights."""

import asyncio
import collections
import contextvars
import enum
import logging
import re
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from dormouse_modelserver import Residency, ResidencyManager
from dormouse_modelserver.engines.torch.layout.inventory import take_inventory
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.modelserver.zoo import X

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


class Refuses(Exception):
    pass


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise Refuses("nobody should have asked")


class AttributesRaise:
    __getattr__ = refuse


class EveryLookupRaises:
    __getattribute__ = refuse


class PropertiesRaise:
    codec = property(refuse)
    __class__ = property(refuse)  # type: ignore[assignment]
    __dict__ = property(refuse)  # type: ignore[assignment]


class Descriptor:
    __get__ = __set__ = __delete__ = refuse


class DescriptorsRaise:
    codec = Descriptor()


class Unfriendly:
    __slots__ = ("codec", "unset")
    __bool__ = __len__ = __iter__ = __eq__ = __hash__ = __repr__ = __str__ = __setattr__ = refuse  # type: ignore[assignment]

    def __init__(self) -> None:
        object.__setattr__(self, "codec", 1)


class KeysRaise(dict[Any, Any]):
    items = values = keys = __iter__ = __len__ = __getitem__ = refuse  # type: ignore[assignment]


class ItemsRaise(list[Any]):
    __iter__ = __len__ = __getitem__ = refuse  # type: ignore[assignment]


class MetaRaises(type):
    __eq__ = __instancecheck__ = __subclasscheck__ = refuse  # type: ignore[assignment]
    __hash__ = type.__hash__

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise Refuses


class OddClass(metaclass=MetaRaises):
    pass


class Colour(enum.Enum):
    RED = torch.ones(2)


class WithoutInit(nn.Module):
    """Forgot `super().__init__()`: torch itself refuses its use, but not its presence."""

    def __init__(self) -> None:
        pass


def fake() -> torch.Tensor:
    with FakeTensorMode():
        return torch.empty(4)


def finished() -> Iterator[int]:
    yield 1


def closed_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


class Asked(dict[str, Any]):
    """Names a device, and answers nothing."""

    __getitem__ = __setitem__ = __iter__ = __len__ = __eq__ = refuse  # type: ignore[assignment]


IN_THE_WAY: dict[str, Callable[[], Any]] = {
    "attributes raise": AttributesRaise,
    "every lookup raises": EveryLookupRaises,
    "properties raise": PropertiesRaise,
    "descriptors raise": DescriptorsRaise,
    "everything raises": Unfriendly,
    "keys raise": lambda: KeysRaise(a=[object()]),
    "devices in a dict that raises": lambda: Asked(device="cpu"),
    "items raise": lambda: ItemsRaise([object()]),
    "its class raises": OddClass,
    "keys that are objects": lambda: {Unfriendly: [types.SimpleNamespace()], (1, "a"): [types.SimpleNamespace()]},
    "locks and threads": lambda: [
        threading.Lock(),
        threading.Condition(),
        threading.current_thread(),
        threading.local(),
    ],
    "loggers": lambda: logging.getLogger("dormouse"),
    "modules of Python": lambda: [torch, re, np],
    "classes": lambda: [nn.Linear, AttributesRaise, OddClass],
    "an event loop": closed_loop,
    "context": contextvars.copy_context,
    "an enumeration": lambda: Colour.RED,
    "numpy": lambda: [np.ones(4), np.array([object()])],
    "a regular expression": lambda: re.compile("a"),
    "an error": lambda: ValueError(torch.ones(2)),
    "a fake tensor": fake,
    "a generator at its end": lambda: list(generator := finished()) and generator,
    "a parameter of torch's": lambda: [torch.float16, torch.device("cpu"), torch.Size([1]), torch.Generator()],
    "lists in lists": lambda: types.SimpleNamespace(deep=nested(5_000)),
    "a counter": lambda: collections.Counter("abc"),
    "a dict that holds itself": lambda: (one := {}) is None or one.setdefault("self", one),
}


@pytest.mark.parametrize("root", [types.SimpleNamespace, nn.Module], ids=["object", "module"])
@pytest.mark.parametrize("other", IN_THE_WAY.values(), ids=IN_THE_WAY.keys())
def test_the_load_and_the_answers_are_as_without_it(make: Make, other: Callable[[], Any], root: type[Any]) -> None:
    def load() -> Any:
        torch.manual_seed(3)
        app = root()
        app.model = nn.Linear(8, 8)
        app.__dict__["other"] = other()  # torch's own `__setattr__` would ask it for its class
        return app

    twin = load().model(X)
    weights = on_gpu(make(load))
    weights.offload()
    weights.restore()
    with held(weights) as app:
        assert torch.equal(app.model(X), twin)
    assert weights.moved_apart == ()


@pytest.mark.parametrize("root", [types.SimpleNamespace, nn.Module], ids=["object", "module"])
@pytest.mark.parametrize("other", IN_THE_WAY.values(), ids=IN_THE_WAY.keys())
def test_nor_does_it_hinder_that_the_model_says_where_it_is(other: Callable[[], Any], root: type[Any]) -> None:
    def load() -> Any:
        app = root()
        app.model, app.device = nn.Linear(8, 8), torch.device("cpu")
        app.__dict__["other"] = other()
        return app

    manager = ResidencyManager("sim-strict:1GiB", socket="")
    model = manager.register("a", load)
    for _ in range(2):
        with model.on_gpu() as app:
            assert app.device.type == "sim"
        model.move_to(Residency.CPU)
        assert app.device.type == "cpu"
    manager.close()


def test_a_module_that_forgot_to_initialize_is_passed_over() -> None:
    model = nn.Linear(8, 8)
    assert len(take_inventory(types.SimpleNamespace(model=model, other=WithoutInit())).tensors) == 2


def test_a_dict_that_grows_as_it_is_walked_is_no_hindrance() -> None:
    table: dict[int, Any] = {number: types.SimpleNamespace() for number in range(1_000)}
    app, stop = (
        types.SimpleNamespace(model=nn.Linear(8, 8), helper=types.SimpleNamespace(table=table)),
        threading.Event(),
    )

    def grow() -> None:
        number = 1_000
        while not stop.is_set():
            table[number] = number
            table.pop(number - 500, None)
            number += 1

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(50):
            assert len(take_inventory(app).tensors) == 2
    finally:
        stop.set()
        thread.join()
