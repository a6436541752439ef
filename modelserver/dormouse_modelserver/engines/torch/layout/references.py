"""What an object that is neither module, tensor nor container holds: attributes, and what a function was made with.

Only what lies there is taken. No property, `__getattr__` or descriptor of the user's is called.
"""

import collections
import functools
import gc
import types
from collections.abc import Iterator
from typing import Any

from .kinds import MADE_IN_C

# Where another tensor can be put in its stead: `(dict or list, key)`, `(object, attribute)`, or None in a tuple.
Place = tuple[Any, Any] | None
Reference = tuple[str, object, Place]


class References:
    """Knows the slots of each class that was met."""

    def __init__(self) -> None:
        self._slots: dict[type, tuple[tuple[str, Any], ...]] = {}

    def of(self, value: object) -> list[Reference]:
        """Name, value and place of each. The names of what is no attribute are in angle brackets."""
        return [*self._attributes(value), *_inside(value)]

    def _attributes(self, value: object) -> Iterator[Reference]:
        own = own_dict(value)
        for name, item in tuple(own.items()):
            yield str(name), item, (own, name)
        slots = self._slots.get(type(value))
        if slots is None:
            slots = self._slots[type(value)] = tuple(_slots_of(type(value)))
        for name, member in slots:
            try:
                yield name, member.__get__(value), (value, name)
            except AttributeError:  # nothing was put there yet
                continue


def own_dict(value: object) -> dict[str, Any]:
    """Empty when it has none. The lookup is the one of `object`, whatever its class says of attributes."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except Exception:  # a class may define `__dict__` itself
        return {}
    return own if type(own) is dict else {}


def _slots_of(cls: type) -> Iterator[tuple[str, Any]]:
    """By their descriptors: what `__slots__` itself says may be anything, and private names are mangled."""
    for owner in cls.__mro__:
        for name, member in vars(owner).items():
            if type(member) is types.MemberDescriptorType and owner.__flags__ & 1 << 9:
                yield name, member


def _inside(value: Any) -> Iterator[Reference]:
    """What it was made with. Judged by its type: `isinstance` would ask a proxy for its `__class__`."""
    cls = type(value)
    if cls is types.FunctionType:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            try:
                yield f"<{name}>", cell.cell_contents, (cell, "cell_contents")
            except ValueError:  # empty: the function is not defined to its end yet
                continue
        yield "<defaults>", value.__defaults__, None
        yield "<defaults by name>", value.__kwdefaults__, None
    elif cls is types.MethodType:
        yield "__self__", value.__self__, None
        yield "__func__", value.__func__, None
    elif cls is types.BuiltinMethodType:
        yield "__self__", value.__self__, None
    elif issubclass(cls, functools.partial | functools.partialmethod):
        yield "func", value.func, None
        yield "args", value.args, None
        yield "keywords", value.keywords, None
    elif issubclass(cls, collections.defaultdict):
        yield "default_factory", value.default_factory, None
    elif cls is property:
        yield "fget", value.fget, None
    elif issubclass(cls, MADE_IN_C):
        for number, item in enumerate(gc.get_referents(value)):
            yield f"<{number}>", item, None
    elif cls in _SUSPENDED:
        yield from _variables(value, _SUSPENDED[cls])


_SUSPENDED = {types.GeneratorType: "gi", types.CoroutineType: "cr", types.AsyncGeneratorType: "ag"}


def _variables(value: Any, prefix: str) -> Iterator[Reference]:
    """Of a generator or coroutine that waits for its next step."""
    frame = getattr(value, f"{prefix}_frame")
    if frame is not None and not getattr(value, f"{prefix}_running"):
        for name, item in tuple(frame.f_locals.items()):
            yield f"<{name}>", item, None


def key_text(key: object) -> str:
    """Of a key of a dict, for a path; the `repr` of an object of the user's may do anything."""
    return repr(key) if type(key) in (str, int, bool, float, type(None)) else f"<{type(key).__name__}>"
