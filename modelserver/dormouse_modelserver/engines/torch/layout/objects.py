"""Walks the plain objects that hang on a model, at any depth: a speech server keeps modules in its tokenizer's codec.

Modules are found wherever they are, and move. A loose tensor of such an object is not moved: whether it belongs on the
device (a codebook) or not (a window for audio on the CPU) only its owner knows, so it is noted, to be named.

A dictionary of pronunciations has 250,000 objects. Breadth first, so that what is near is found first and the depth of
recursion does not matter; counted, not timed, so that each look finds the same; and a large part in which nothing was
found is not looked through again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from .containers import BUILT_IN, LARGE, entries, length
from .kinds import CONTAINERS, TENSORS, Kind, Kinds
from .references import References, key_text

# About half a second for the first look, at most.
MOST_OBJECTS = 500_000
_PLAIN = Kind.PLAIN


@dataclass(slots=True)
class Barren:
    """Large parts in which nothing was found, by id: the object itself, and how long it was."""

    parts: dict[int, tuple[object, int]] = field(default_factory=dict)

    def has(self, value: object) -> bool:
        known = self.parts.get(id(value))
        return known is not None and known[0] is value and known[1] == length(value)


@dataclass(frozen=True, slots=True)
class Loose:
    """A tensor that stays where it is: held by an object of class `owner` at the path `at`, or by the class itself."""

    tensor: torch.Tensor
    owner: type
    at: str
    path: str
    of_class: bool = False


class _Attribute(str):
    """Its name, and no key, in a container that has attributes too."""


class Objects:
    """seen: what the walk has met, by id; shared with who walks the modules. meet_class: called with that of each
    object, and its path."""

    def __init__(
        self,
        kinds: Kinds,
        references: References,
        seen: dict[int, object],
        barren: Barren,
        meet_class: Callable[[type, str], None],
    ) -> None:
        self._kinds, self._references, self._seen, self._barren = kinds, references, seen, barren
        self._meet_class, self._classes = meet_class, set[type]()
        self._still_barren: dict[int, tuple[object, int]] = {}
        # One entry each; lists side by side, since there may be many.
        self._values: list[object] = []
        self._parents: list[int] = []
        self._labels: list[object] = []
        self._fertile: set[int] = set()
        self._loose: list[tuple[torch.Tensor, int, object]] = []
        self.unreachable: list[tuple[object, str]] = []
        self.cut = False

    def add(self, value: object, path: str) -> None:
        """An object or a container at `path`, which is looked into later."""
        self._add(value, -1, path)

    def _add(self, value: object, parent: int, label: object) -> None:
        if id(value) in self._seen:
            return
        if self._barren.has(value):
            self._still_barren[id(value)] = self._barren.parts[id(value)]
            return
        self._seen[id(value)] = value
        self._values.append(value)
        self._parents.append(parent)
        self._labels.append(label)

    def walk(self, enter: Callable[[torch.nn.Module, str], None]) -> None:
        """Look into all of them. `enter` is called with each module and its path, and may add more."""
        number = 0
        while number < len(self._values):
            if number >= MOST_OBJECTS:
                self.cut = True
                return
            value = self._values[number]
            if type(value) not in self._classes:
                self._classes.add(type(value))
                self._meet_class(type(value), self._path(number))
            for label, item in self._items(value):
                kind = self._kinds[type(item)]
                if kind is _PLAIN:
                    continue
                if kind is Kind.MODULE:
                    self._fertile.add(number)
                    enter(item, self._path(number, label))
                elif kind in TENSORS:
                    self._fertile.add(number)
                    self._loose.append((item, number, label))
                elif kind in (Kind.PACKED, Kind.SCRIPT):
                    self._fertile.add(number)
                    self.unreachable.append((item, self._path(number, label)))
                else:
                    self._add(item, number, label)
            number += 1

    def _items(self, value: Any) -> Iterable[tuple[object, Any]]:
        """Each with its attribute or key."""
        attributes = () if type(value) in BUILT_IN else self._references.of(value)
        if self._kinds[type(value)] not in CONTAINERS:
            return [(name, item) for name, item, _ in attributes]
        return [*entries(value, self._kinds), *((_Attribute(name), item) for name, item, _ in attributes)]

    def loose(self) -> list[Loose]:
        return [
            Loose(tensor, type(self._values[owner]), self._path(owner), self._path(number, label))
            for tensor, number, label in self._loose
            for owner in [self._owner(number)]
        ]

    def _owner(self, number: int) -> int:
        """The object that has it, or has the container that it is in."""
        while self._kinds[type(self._values[number])] in CONTAINERS and self._parents[number] >= 0:
            number = self._parents[number]
        return number

    def _path(self, number: int, *label: object) -> str:
        names = [self._name(number, each) for each in label]
        while self._parents[number] >= 0:
            names.append(self._name(self._parents[number], self._labels[number]))
            number = self._parents[number]
        return f"{self._labels[number]}{''.join(reversed(names))}".removeprefix(".")

    def _name(self, owner: int, label: object) -> str:
        in_container = self._kinds[type(self._values[owner])] in CONTAINERS and type(label) is not _Attribute
        return f"[{key_text(label)}]" if in_container else f".{label}"

    def barren(self) -> Barren:
        """What the next look may pass over."""
        count = len(self._values)
        if count < LARGE or self.cut:
            return Barren(self._still_barren)
        sizes, fertile = [1] * count, [number in self._fertile for number in range(count)]
        for number in range(count - 1, -1, -1):
            parent = self._parents[number]
            if parent >= 0:
                sizes[parent] += sizes[number]
                fertile[parent] = fertile[parent] or fertile[number]
        inside = [False] * count
        for number, parent in enumerate(self._parents):
            inside[number] = parent >= 0 and inside[parent]
            if not inside[number] and not fertile[number] and sizes[number] >= LARGE:
                value = self._values[number]
                inside[number] = True
                self._still_barren[id(value)] = (value, length(value))
        return Barren(self._still_barren)
