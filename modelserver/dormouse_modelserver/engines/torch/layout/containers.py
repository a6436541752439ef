"""What lies in a container, whatever its own `__iter__` or `items` say; a copy, since another thread may use it."""

import collections
import itertools
from typing import Any

from .kinds import Kind, Kinds

# What is smaller is looked through each time: about a millisecond.
LARGE = 1_000
BUILT_IN = frozenset({dict, list, tuple, set, frozenset, collections.OrderedDict, collections.deque})
# A dictionary of pronunciations has words, of each the ways to say it, and of each the sounds.
_LEVELS = 4
_MOST_AT_ONCE = 10_000_000
_NOTHING = frozenset({Kind.PLAIN})
KEY = "<key>"
_BASES: tuple[Any, ...] = (list, dict, tuple, set, frozenset, collections.deque)


def entries(value: Any, kinds: Kinds) -> list[tuple[object, Any]]:
    """Each with its key or number; a key that may lead on comes too, under `KEY`. None where none of them leads on."""
    inside = contents(value, kinds)
    if not inside:
        return []
    if kinds[type(value)] is not Kind.DICT:
        return list(enumerate(inside))
    return [*dict.items(value), *((KEY, key) for key in tuple(dict.keys(value)) if kinds[type(key)] is not Kind.PLAIN)]


def contents(value: Any, kinds: Kinds) -> tuple[Any, ...]:
    """Its items, and keys that may lead on. None where none of them leads on."""
    if kinds[type(value)] is not Kind.DICT:
        inside = elements(value)
    else:
        keys, inside = tuple(dict.keys(value)), tuple(dict.values(value))
        if not _are_plain(keys, kinds):
            return (*keys, *inside)
    return () if _lead_nowhere(inside, kinds) else inside


def elements(value: Any) -> tuple[Any, ...]:
    """Of a list, deque, tuple or set."""
    return tuple(_base_of(value).__iter__(value))


def length(value: Any) -> int:
    """-1 of what is no container."""
    base = _base_of(value)
    return -1 if base is object else int(base.__len__(value))


def _lead_nowhere(values: tuple[Any, ...], kinds: Kinds) -> bool:
    """Nothing but text and numbers, as in a vocabulary; of many, looked for in the containers among them as well."""
    for _ in range(_LEVELS):
        if _are_plain(values, kinds):
            return True
        inner = [value for value in values if kinds[type(value)] is not Kind.PLAIN] if len(values) >= LARGE else []
        if not inner or not BUILT_IN.issuperset(map(type, inner)) or sum(map(len, inner)) > _MOST_AT_ONCE:
            return False
        values = tuple(itertools.chain.from_iterable(map(_content, inner)))
    return False


def _are_plain(values: tuple[Any, ...], kinds: Kinds) -> bool:
    return {kinds[cls] for cls in set(map(type, values))} <= _NOTHING


def _content(value: Any) -> tuple[Any, ...]:
    return (*dict.keys(value), *dict.values(value)) if isinstance(value, dict) else tuple(value)


def _base_of(value: object) -> Any:
    cls = type(value)
    return next((base for base in _BASES if cls is base), None) or next(
        (base for base in _BASES if issubclass(cls, base)), object
    )
