"""Finds every tensor that belongs to a model: what has to move when the model moves."""

import types
from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Found:
    """One tensor object. `saved`: a parameter or buffer, which a change of must survive (see `Dirty`)."""

    tensor: torch.Tensor
    path: str
    saved: bool


@dataclass(frozen=True, slots=True)
class Inventory:
    tensors: tuple[Found, ...]
    modules: tuple[torch.nn.Module, ...]


def take_inventory(model: object, modules: tuple[torch.nn.Module, ...] | None = None) -> Inventory:
    """Walk `modules`, or everything reachable from `model` through attributes and containers.

    Followed: parameters, persistent and non-persistent buffers, submodules (also those held in lists or
    dicts without registration), tensors in plain attributes, and the attributes of the model object
    itself when it is a pipeline. Other objects are not entered: they are the user's business.
    Each tensor object and each module comes once, in a stable order.
    """
    walk = _Walk()
    roots: tuple[object, ...] = modules if modules is not None else (model,)
    for number, root in enumerate(roots):
        walk.enter_root(root, "" if len(roots) == 1 else f"[{number}]")
    return Inventory(tuple(walk.tensors), tuple(walk.modules))


class _Walk:
    def __init__(self) -> None:
        self.tensors: list[Found] = []
        self.modules: list[torch.nn.Module] = []
        self._seen: set[int] = set()

    def enter_root(self, root: object, path: str) -> None:
        if isinstance(root, torch.nn.Module | torch.Tensor | list | tuple | set | dict):
            self._enter(root, path)
            return
        for name, value in _attributes(root):
            self._enter(value, f"{path}.{name}".lstrip("."))

    def _enter(self, value: object, path: str, saved: bool = False) -> None:
        if not isinstance(value, torch.nn.Module | torch.Tensor | list | tuple | set | frozenset | dict):
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, torch.Tensor):
            self.tensors.append(Found(value, path, saved))
        elif isinstance(value, torch.nn.Module):
            self._enter_module(value, path)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._enter(item, f"{path}[{key!r}]")
        else:
            for number, item in enumerate(value):
                self._enter(item, f"{path}[{number}]")

    def _enter_module(self, module: torch.nn.Module, path: str) -> None:
        self.modules.append(module)
        if isinstance(module, torch.jit.ScriptModule):
            for name, tensor in (
                *module.named_parameters(path, recurse=False),
                *module.named_buffers(path, recurse=False),
            ):
                self._enter(tensor, name, saved=True)
            for name, child in module.named_children():
                self._enter(child, f"{path}.{name}".lstrip("."))
            return
        for store in (module._parameters, module._buffers):
            for name, saved in store.items():
                self._enter(saved, f"{path}.{name}".lstrip("."), saved=True)
        for name, sub in module._modules.items():
            self._enter(sub, f"{path}.{name}".lstrip("."))
        for name, value in vars(module).items():
            if name not in _MODULE_INTERNALS:
                self._enter(value, f"{path}.{name}".lstrip("."))


# What torch.nn.Module itself keeps in its __dict__: stores walked above, and hooks.
_MODULE_INTERNALS = frozenset(vars(torch.nn.Module()))


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, types.ModuleType | type):
        return
    yield from getattr(value, "__dict__", {}).items()
    for owner in type(value).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield name, getattr(value, name)
