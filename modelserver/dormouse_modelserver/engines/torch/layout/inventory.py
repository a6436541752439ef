"""Finds every tensor that belongs to a model: what has to move when the model moves.

A model is more than `state_dict()`: buffers that are not saved, parametrizations, tensors in plain attributes, modules
in a list that torch knows nothing of, or in an object of the user's own, at any depth. Whatever was overlooked would
stay on the device, or be missing there; so what is not moved is named.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .beside import belongs_to_parameters, private_copy
from .constants import Constants, constants_of
from .containers import BUILT_IN, KEY, contents, entries
from .kinds import CONTAINERS, TENSORS, Kind, Kinds
from .left_out import (
    line_for_constants,
    line_for_packed,
    line_for_too_many,
    lines_for_loose,
)
from .objects import Barren, Objects
from .of_classes import OfClasses
from .references import Place, References, key_text, own_dict


@dataclass(slots=True)  # not frozen: thousands are made at each demotion, and that would take three times as long
class Found:
    """One tensor object, the path and the place that it was found at first, and those of tied weights besides.

    saved: a parameter or buffer, which a change of must survive (see `Dirty`).
    """

    tensor: torch.Tensor
    saved: bool
    path: str
    place: Place
    # Not a list of all: of thousands of lists the garbage collector would take notice, and stop the process.
    more: tuple[tuple[str, Place], ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *(path for path, _ in self.more))

    @property
    def places(self) -> tuple[Place, ...]:
        return (self.place, *(place for _, place in self.more))

    def replace(self, tensor: torch.Tensor) -> bool:
        """Put `tensor` in its stead wherever it is held; False when a place can't be written."""
        for place in self.places:
            if place is not None:
                owner, key = place
                if isinstance(owner, dict | list | collections.deque):
                    owner[key] = tensor
                else:
                    _set(owner, key, tensor)
        self.tensor = tensor
        return None not in self.places


@dataclass(frozen=True, slots=True)
class Inventory:
    """opaque: what was seen and is not moved, as `path: reason`. among_objects: modules found in plain objects."""

    tensors: tuple[Found, ...]
    modules: tuple[torch.nn.Module, ...]
    opaque: tuple[str, ...] = ()
    among_objects: tuple[str, ...] = ()


@dataclass(slots=True)
class Known:
    """What one look at a model leaves for the next: parts with nothing in them, and constants of code, by id."""

    barren: Barren = field(default_factory=Barren)
    constants: dict[int, tuple[object, Constants]] = field(default_factory=dict)


def take_inventory(model: object, modules: Sequence[object] | None = None, known: Known | None = None) -> Inventory:
    """Walk `modules`, or everything reachable from `model` through attributes, containers and plain objects.

    Moved: parameters, persistent and non-persistent buffers, submodules (also those held in lists or dicts without
    registration), tensors in plain attributes, attributes of ScriptModules, the attributes of the model object itself
    when it is a pipeline, what quantization keeps beside a parameter, and modules in other objects, closures and
    partials. Loose tensors of other objects are named, not moved: they are the user's business.
    Each tensor object and each module comes once, in a stable order.
    """
    walk = _Walk(known or Known())
    roots: Sequence[object] = modules if modules is not None else (model,)
    try:
        for number, root in enumerate(roots):
            walk.enter_root(root, "" if len(roots) == 1 else f"[{number}]")
        return walk.inventory()
    finally:
        vars(walk).clear()  # it refers to itself, so all that it has met would live until a garbage collection


_PLAIN = Kind.PLAIN  # what nearly all values are
# Deeper than this, what hangs on a parameter is no longer taken for a part of it.
_DEPTH_BESIDE = 4
_ORDINARY = (torch.nn.Parameter, torch.Tensor)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# What torch.nn.Module itself keeps in its __dict__: stores walked by name, and hooks.
_MODULE_INTERNALS = frozenset(vars(torch.nn.Module()))


class _Walk:
    def __init__(self, known: Known) -> None:
        self._tensors: dict[int, Found] = {}
        self._modules: list[torch.nn.Module] = []
        self._opaque: list[str] = []
        self._among_objects: list[str] = []
        self._known = known
        # The objects themselves: an id alone may come again once its object, a list made by a getter, is gone.
        self._seen: dict[int, object] = {}
        self._kinds, self._references = Kinds(), References()
        self._of_classes = OfClasses(self._kinds, self._references, self._seen)
        self._objects = Objects(self._kinds, self._references, self._seen, known.barren, self._of_classes.meet)

    def enter_root(self, root: object, path: str) -> None:
        if self._kinds[type(root)] is not Kind.OBJECT and self._kinds[type(root)] is not _PLAIN:
            self._enter(root, path, None)
            return
        self._of_classes.meet(type(root), path)
        for name, value, place in self._references.of(root):
            self._enter(value, join(path, name), place)

    def inventory(self) -> Inventory:
        self._objects.walk(self._enter_among_objects)
        for value, path in self._objects.unreachable:
            self._enter(value, path, None)
        if self._objects.cut:
            self._opaque.append(line_for_too_many(""))
        self._of_classes.walk()
        self._opaque += self._of_classes.lines
        self._opaque += lines_for_loose([*self._objects.loose(), *self._of_classes.loose], self._tensors)
        self._known.barren = self._objects.barren()
        return Inventory(
            tuple(self._tensors.values()), tuple(self._modules), tuple(self._opaque), tuple(self._among_objects)
        )

    def _enter_among_objects(self, module: torch.nn.Module, path: str) -> None:
        if id(module) not in self._seen:
            self._among_objects.append(f"{path} ({type(module).__name__})")
            self._enter(module, path, None)

    def _enter(self, value: Any, path: str, place: Place, saved: bool = False) -> None:
        kind = self._kinds[type(value)]
        if kind is _PLAIN:
            return
        if kind in TENSORS:
            self._enter_tensor(value, path, place, saved)
            return
        if kind is Kind.OBJECT:
            self._objects.add(value, path)
            return
        if id(value) in self._seen:
            return
        if kind in CONTAINERS:
            self._enter_container(value, path, saved)
            return
        self._seen[id(value)] = value
        if kind is Kind.MODULE:
            self._enter_module(value, path)
        elif kind is Kind.PACKED:
            self._opaque.append(line_for_packed(path))
        else:
            self._note_constants(value, path)

    def _enter_container(self, value: Any, path: str, saved: bool) -> None:
        """With the containers in it, however deep. One without tensors and modules is left to the plain objects."""
        if type(value) in BUILT_IN and not contents(value, self._kinds):
            return
        has_own, has_objects = self._kinds_within(value)
        if not has_own:
            if has_objects:
                self._objects.add(value, path)
            return
        pending = [(value, path)]
        while pending:
            container, at = pending.pop()
            if id(container) in self._seen:
                continue
            self._seen[id(container)] = container
            inner = []
            for name, item, place in self._parts_of(container):
                if self._kinds[type(item)] in CONTAINERS:
                    inner.append((item, at + name))
                else:
                    self._enter(item, at + name, place, saved)
            pending += reversed(inner)

    def _kinds_within(self, value: Any) -> tuple[bool, bool]:
        """Whether a container, or one in it, has a tensor or module, and whether it has plain objects."""
        kinds, pending, met, has_objects = self._kinds, [value], {id(value)}, False
        while pending:
            container = pending.pop()
            inside: Iterable[Any] = contents(container, kinds)
            if type(container) not in BUILT_IN:
                inside = (*inside, *(item for _, item, _ in self._references.of(container)))
            for item in inside:
                kind = kinds[type(item)]
                if kind is _PLAIN:
                    continue
                if kind is Kind.OBJECT:
                    has_objects = True
                elif kind not in CONTAINERS:
                    return True, has_objects
                elif id(item) not in met and id(item) not in self._seen:
                    met.add(id(item))
                    pending.append(item)
        return False, has_objects

    def _parts_of(self, value: Any) -> Iterator[tuple[str, Any, Place]]:
        """Name, value and place of what a container holds, and of its attributes."""
        kinds = self._kinds
        fixed = kinds[type(value)] is Kind.FIXED
        for key, item in entries(value, kinds):
            if kinds[type(item)] is not _PLAIN:
                yield f"[{key_text(key)}]", item, None if fixed or key is KEY else (value, key)
        if type(value) not in BUILT_IN:
            for name, item, place in self._references.of(value):
                yield f".{name}", item, place

    def _enter_tensor(self, tensor: torch.Tensor, path: str, place: Place, saved: bool) -> None:
        found = self._tensors.get(id(tensor))
        if found is not None:
            found.more = (*found.more, (path, place))
            return
        self._tensors[id(tensor)] = Found(tensor, saved, path, place)
        kind = type(tensor)
        beside = tensor.__dict__ if kind in _ORDINARY else own_dict(tensor)
        if beside and self._kinds[kind] is Kind.TENSOR:
            self._enter_beside(beside, path, saved, 0)

    def _enter_beside(self, own: dict[str, Any], path: str, saved: bool, depth: int) -> None:
        """What quantization keeps beside a parameter: in its attributes, or in those of an object there."""
        for name, value in tuple(own.items()):
            kind = self._kinds[type(value)]
            if kind is Kind.OBJECT and depth < _DEPTH_BESIDE:
                if id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._enter_beside(own_dict(value), join(path, name), saved, depth + 1)
            elif kind is not _PLAIN:
                if kind is Kind.TENSOR:
                    value = private_copy(value, own, name)
                self._enter(value, join(path, name), (own, name), saved)

    def _enter_module(self, module: torch.nn.Module, path: str) -> None:
        self._modules.append(module)
        if isinstance(module, torch.jit.ScriptModule):
            self._note_constants(module, path)
            self._enter_script_module(module, path)
            return
        kinds = self._kinds
        self._of_classes.meet(type(module), path)
        own = own_dict(module)
        # Copies: the inventory of a model is also taken while another, which shares modules with it, is in use.
        for store in (own.get("_parameters"), own.get("_buffers")):
            for name, saved in tuple(store.items()) if store else ():
                if kinds[type(saved)] in TENSORS:
                    self._enter_tensor(saved, join(path, name), (store, name), saved=True)
        subs = own.get("_modules")
        for name, sub in tuple(subs.items()) if subs else ():
            if sub is not None:
                self._enter(sub, join(path, name), None)
        for name in [name for name in tuple(own) if name not in _MODULE_INTERNALS]:
            value = own.get(name)
            if kinds[type(value)] is _PLAIN:
                continue
            if kinds[type(value)] is Kind.OBJECT and belongs_to_parameters(value):
                if id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._enter_beside(own_dict(value), join(path, name), True, 1)
                continue
            self._enter(value, join(path, name), (own, name))

        for name in _HOOKS:
            hooks = own.get(name)
            if hooks is not None and dict.__len__(hooks):  # its own `__bool__` has the gate in mind
                self._objects.add(hooks, join(path, name))

    def _enter_script_module(self, module: torch.jit.ScriptModule, path: str) -> None:
        """Its state is in C++; what Python gives are the same tensors, which can be pointed elsewhere, not replaced."""
        saved = (
            *module.named_parameters(path, recurse=False),
            *module.named_buffers(path, recurse=False),
        )
        for name, tensor in saved:
            self._enter(tensor, name, None, saved=True)
        for name, child in module.named_children():
            if id(child) not in self._seen:
                self._seen[id(child)] = child
                self._modules.append(child)
                self._enter_script_module(child, join(path, name))  # type: ignore[arg-type]
        concrete = getattr(module, "_concrete_type", None)
        for name, (kind, _) in concrete.get_attributes().items() if concrete is not None else ():
            value = getattr(module, name, None)
            if isinstance(value, torch.Tensor | list | tuple | dict):
                self._enter(value, join(path, name), None)
            elif isinstance(kind, torch._C.ClassType):  # an object in C++, whatever Python shows in its stead
                self._opaque.append(line_for_packed(join(path, name)))

    def _note_constants(self, script: object, path: str) -> None:
        remembered = self._known.constants.get(id(script))
        if remembered is None or remembered[0] is not script:
            remembered = self._known.constants[id(script)] = (script, constants_of(script))
        if remembered[1].count:
            self._opaque.append(line_for_constants(path, remembered[1]))


def _set(owner: object, name: str, tensor: torch.Tensor) -> None:
    try:
        setattr(owner, name, tensor)
    except AttributeError:  # a frozen dataclass; it stays the same to all who look
        object.__setattr__(owner, name, tensor)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
