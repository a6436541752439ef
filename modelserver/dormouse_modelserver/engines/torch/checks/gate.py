"""Stops use of a model that nobody holds, with a sentence instead of torch's "mat2 must be a matrix"."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from ....errors import ModelNotHeld

# Models that are loaded or unloaded at the same time may share a module.
_guarding = threading.Lock()


def _begin_anew() -> None:
    """In a forked child: whoever guarded modules is not there."""
    global _guarding
    _guarding = threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)


class Gate:
    """Open while anybody in the process holds the model; pre-hooks on every module's forward and `state_dict` ask it.

    Not per thread or task: pools and streams hand work on. A module that several models share may be used when any
    of them is held. A retired gate stays shut for good: its model was unloaded and a later `load` made another
    object. ScriptModules take no hooks; their tensors raise.
    """

    __slots__ = ("_borrowed", "model_name", "open")

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.open = False
        self._borrowed: list[tuple[torch.nn.Module, tuple[torch.utils.hooks.RemovableHandle, ...]]] = []

    def __call__(self, module: torch.nn.Module, args: Any) -> None:
        if not self.open and not any(gate.open for gate in gates_of(module)):
            name = self.model_name
            raise ModelNotHeld(
                f"{type(module).__name__} of model {name!r} was used while nobody holds it, so its weights may be "
                f"anywhere. Use it inside `with residency[{name!r}].on_gpu() as model:` and take `model` anew each time"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled or deep-copied module is nobody's to move: nothing guards it.
        return (_unguarded, ())

    def guard(self, modules: Iterable[torch.nn.Module]) -> None:
        """Add the hooks to each module that has none of this gate yet."""
        with _guarding:
            for module in modules:
                if not isinstance(module, torch.jit.ScriptModule) and self not in module._forward_pre_hooks.values():
                    self._guard(module)

    def _guard(self, module: torch.nn.Module) -> None:
        shared = next(gates_of(module), None) is not None
        if not isinstance(module._forward_pre_hooks, _GatedHooks) and not module._forward_pre_hooks:
            module._forward_pre_hooks = _GatedHooks()
        handles = (
            module.register_forward_pre_hook(self, prepend=True),
            module.register_state_dict_pre_hook(_StateDictGuard(self)),  # type: ignore[no-untyped-call]
        )
        if isinstance(module._forward_pre_hooks, _GatedHooks):
            module._forward_pre_hooks.gates.append(self)
        if shared:
            self._borrowed.append((module, handles))

    def retire(self) -> None:
        """Shut for good. Modules that another model still has are that one's alone from now on."""
        self.open = False
        with _guarding:
            for module, handles in self._borrowed:
                if isinstance(module._forward_pre_hooks, _GatedHooks):
                    module._forward_pre_hooks.gates.remove(self)
                for handle in handles:
                    handle.remove()
            self._borrowed.clear()


class _GatedHooks(OrderedDict[int, Callable[..., Any]]):
    """A module's forward pre-hooks, which look as if there were none while only gates are there and one is open.

    torch asks whether there are any before each forward, and takes a slow path if so: 2.7 µs for each module of a
    model, and fused kernels (`nn.TransformerEncoderLayer`) are not used at all. So the check costs what it must, and
    only a model that nobody holds pays for it.
    """

    def __init__(self, *items: Any) -> None:
        super().__init__(*items)
        self.gates: list[Gate] = []

    def __bool__(self) -> bool:
        for gate in self.gates:
            if gate.open:
                return super().__len__() > len(self.gates)
        return super().__len__() > 0

    def __len__(self) -> int:
        return super().__len__() if self else 0

    def __reduce__(self) -> tuple[Any, ...]:
        # What a copy has is the user's own.
        return (OrderedDict, ([(key, hook) for key, hook in self.items() if not isinstance(hook, Gate)],))


class _StateDictGuard:
    """Saving a sleeping model would save empty tensors and say nothing."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __call__(self, module: torch.nn.Module, prefix: str, keep_vars: bool) -> None:
        self._gate(module, ())

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unguarded, ())


def gates_of(module: torch.nn.Module) -> Iterator[Gate]:
    """Of the models that were loaded with this module; more than one when they share it."""
    hooks = tuple(module._forward_pre_hooks.values())  # at one moment: another thread may be adding one
    return (hook for hook in hooks if isinstance(hook, Gate))


def _unguarded() -> Callable[..., None]:
    return _pass


def _pass(*args: Any) -> None:
    """A hook that does nothing."""
