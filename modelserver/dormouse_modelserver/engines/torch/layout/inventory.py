"""Finds every tensor that belongs to a model: what has to move when the model moves.

A model is more than `state_dict()`: buffers that are not saved, parametrizations, tensors in plain attributes, modules
in a list that torch knows nothing of. Whatever was overlooked would stay on the device, or be missing there.
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

# Where another tensor can be put in its stead: `(dict or list, key)`, `(object, attribute)`, or None in a tuple.
Place = tuple[Any, Any] | None


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
                if isinstance(owner, dict | list):
                    owner[key] = tensor
                else:
                    _set(owner, key, tensor)
        self.tensor = tensor
        return None not in self.places


@dataclass(frozen=True, slots=True)
class Inventory:
    """opaque: objects of C++ that may have weights inside, by path and with the reason why they are not moved."""

    tensors: tuple[Found, ...]
    modules: tuple[torch.nn.Module, ...]
    opaque: tuple[str, ...] = ()


def take_inventory(model: object, modules: tuple[torch.nn.Module, ...] | None = None) -> Inventory:
    """Walk `modules`, or everything reachable from `model` through attributes and containers.

    Followed: parameters, persistent and non-persistent buffers, submodules (also those held in lists or
    dicts without registration), tensors in plain attributes, attributes of ScriptModules, and the attributes of
    the model object itself when it is a pipeline. Other objects are not entered: they are the user's business.
    Each tensor object and each module comes once, in a stable order.
    """
    walk = _Walk()
    roots: tuple[object, ...] = modules if modules is not None else (model,)
    for number, root in enumerate(roots):
        walk.enter_root(root, "" if len(roots) == 1 else f"[{number}]")
    return Inventory(tuple(walk.tensors.values()), tuple(walk.modules), tuple(walk.opaque))


_Containers = (list, tuple, set, frozenset, dict)
_Followed = (torch.Tensor, torch.nn.Module, *_Containers)
# What most attributes are: looked at first, since thousands are.
_PLAIN = (int, float, str, bool, type(None))
# What torch.nn.Module itself keeps in its __dict__: stores walked by name, and hooks.
_MODULE_INTERNALS = frozenset(vars(torch.nn.Module()))


class _Walk:
    def __init__(self) -> None:
        self.tensors: dict[int, Found] = {}
        self.modules: list[torch.nn.Module] = []
        self.opaque: list[str] = []
        # The objects themselves: an id alone may come again once its object, a list made by a getter, is gone.
        self._seen: dict[int, object] = {}

    def enter_root(self, root: object, path: str) -> None:
        if isinstance(root, _Followed):
            self._enter(root, path, None)
            return
        for name, value in attributes(root):
            if isinstance(value, _Followed):
                self._enter(value, join(path, name), (root, name))

    def _enter(self, value: object, path: str, place: Place, saved: bool = False) -> None:
        if isinstance(value, torch.Tensor):
            self._enter_tensor(value, path, place, saved)
            return
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, torch.nn.Module):
            self._enter_module(value, path)
        elif isinstance(value, dict):
            for key, item in tuple(value.items()):
                if isinstance(item, _Followed):
                    self._enter(item, f"{path}[{key!r}]", (value, key))
        elif isinstance(value, list):
            for number, item in enumerate(tuple(value)):
                if isinstance(item, _Followed):
                    self._enter(item, f"{path}[{number}]", (value, number))
        elif isinstance(value, _Containers):
            for number, item in enumerate(tuple(value)):
                if isinstance(item, _Followed):
                    self._enter(item, f"{path}[{number}]", None)

    def _enter_tensor(self, tensor: torch.Tensor, path: str, place: Place, saved: bool) -> None:
        found = self.tensors.get(id(tensor))
        if found is None:
            self.tensors[id(tensor)] = Found(tensor, saved, path, place)
        else:
            found.more = (*found.more, (path, place))

    def _enter_module(self, module: torch.nn.Module, path: str) -> None:
        self.modules.append(module)
        if isinstance(module, torch.jit.ScriptModule):
            self._enter_script_module(module, path)
            return
        own = module.__dict__
        # Copies: the inventory of a model is also taken while another, which shares modules with it, is in use.
        for store in (own["_parameters"], own["_buffers"]):
            for name, saved in tuple(store.items()) if store else ():
                if saved is not None:
                    self._enter_tensor(saved, join(path, name), (store, name), saved=True)
        subs = own["_modules"]
        for name, sub in tuple(subs.items()) if subs else ():
            if sub is not None:
                self._enter(sub, join(path, name), None)
        for name in [name for name in tuple(own) if name not in _MODULE_INTERNALS]:
            value = own.get(name)
            if isinstance(value, _PLAIN):
                continue
            if isinstance(value, _Followed):
                self._enter(value, join(path, name), (own, name))
            elif isinstance(value, torch._C.ScriptObject):
                # A dynamically quantized layer's weights: packed for the CPU, for which alone torch has kernels.
                what = "is an object of TorchScript's whose inside can't be reached, so it stays in host RAM"
                self.opaque.append(f"{join(path, name)}: {what}")

    def _enter_script_module(self, module: torch.jit.ScriptModule, path: str) -> None:
        """Its state is in C++; what Python gives are the same tensors, which can be pointed elsewhere, not replaced."""
        saved = (
            *module.named_parameters(path, recurse=False),
            *module.named_buffers(path, recurse=False),
        )
        for name, tensor in saved:
            self._enter(tensor, name, None, saved=True)
        for name, child in module.named_children():
            self._enter(child, join(path, name), None)
        concrete = getattr(module, "_concrete_type", None)
        for name in concrete.get_attributes() if concrete is not None else ():
            value = getattr(module, name, None)
            if isinstance(value, torch.Tensor | list | tuple | dict):
                self._enter(value, join(path, name), None)


def _set(owner: object, name: str, tensor: torch.Tensor) -> None:
    try:
        setattr(owner, name, tensor)
    except AttributeError:  # a frozen dataclass; it stays the same to all who look
        object.__setattr__(owner, name, tensor)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def attributes(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, types.ModuleType | type):
        return
    yield from tuple(getattr(value, "__dict__", {}).items())
    for owner in type(value).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield name, getattr(value, name)
