"""What hangs on the classes themselves, of the model and of all objects in it: named, and not moved.

A registry (`Hub.models`), a single instance (`Hub.instance`) or a default argument belongs to every object of the
class: moved with one of them, it would be missing to the others.
"""

import types

import torch

from ..checks.gate import gates_of
from .kinds import TENSORS, Kind, Kinds, is_machinery
from .left_out import line_for_module_of_class
from .objects import Barren, Loose, Objects
from .references import References


class OfClasses:
    """seen: what the walk of the model has met, by id, and so is moved or named already."""

    def __init__(self, kinds: Kinds, references: References, seen: dict[int, object]) -> None:
        self._kinds, self._references, self._seen = kinds, references, seen
        self._met: set[type] = set()
        # The path at which one of its objects was met first.
        self._owners: dict[type, str] = {}
        self.lines: list[str] = []
        self.loose: list[Loose] = []

    def meet(self, cls: type, path: str) -> None:
        """The class of an object at `path`."""
        if cls not in self._met:
            self._met.add(cls)
            for owner in cls.__mro__:
                if owner not in self._owners and not is_machinery(owner):
                    self._owners[owner] = path

    def walk(self) -> None:
        """Once the model itself was walked."""
        for owner, path in self._owners.items():
            self._walk(owner, path)

    def _walk(self, owner: type, path: str) -> None:
        def found(module: torch.nn.Module, at: str) -> None:
            if id(module) not in self._seen and next(gates_of(module), None) is None:
                self._seen[id(module)] = module
                self.lines.append(line_for_module_of_class(at, owner, module))

        objects = Objects(self._kinds, self._references, self._seen, Barren(), lambda *_: None)
        for name, value in tuple(vars(owner).items()):
            kind, at = self._kinds[type(value)], f"{path}.{name}" if path else name
            if kind in TENSORS:
                self.loose.append(Loose(value, owner, path, at, of_class=True))
            elif kind is Kind.MODULE:
                found(value, at)
            elif kind is not Kind.PLAIN and not _is_bare(value):
                objects.add(value, at)
        objects.walk(found)
        self.loose += [Loose(one.tensor, owner, path, one.path, of_class=True) for one in objects.loose()]


def _is_bare(value: object) -> bool:
    """A function with nothing but its code, as nearly all methods are."""
    return type(value) is types.FunctionType and not any(
        (value.__closure__, value.__defaults__, value.__kwdefaults__, value.__dict__)
    )
