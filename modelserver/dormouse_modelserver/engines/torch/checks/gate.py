"""Stops use of a model that nobody holds, with a sentence instead of torch's "mat2 must be a matrix"."""

import os
import threading
import weakref
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
    object. ScriptModules take no hooks; their tensors raise, and their methods that copy them in C++ are guarded.
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
                if isinstance(module, torch.jit.ScriptModule):
                    self._guard_copies(module)
                elif self not in gates_of(module):
                    self._guard(module)

    def _guard(self, module: torch.nn.Module) -> None:
        shared = next(gates_of(module), None) is not None
        if not isinstance(module._forward_pre_hooks, _GatedHooks) and not module._forward_pre_hooks:
            module._forward_pre_hooks = _GatedHooks()
        handles: tuple[torch.utils.hooks.RemovableHandle, ...] = (
            module.register_state_dict_pre_hook(_StateDictGuard(self)),  # type: ignore[no-untyped-call]
            module.register_load_state_dict_pre_hook(_StateDictGuard(self)),  # type: ignore[no-untyped-call]
        )
        if isinstance(module._forward_pre_hooks, _GatedHooks):
            module._forward_pre_hooks.gates.append(self)
        else:  # hooks were there, and their handles know this very dict
            handles = (*handles, module.register_forward_pre_hook(self, prepend=True))
        if shared:
            self._borrowed.append((module, handles))
        if type(module)._apply is not torch.nn.Module._apply:
            # Recurrent layers forget their list of weights before the first of these refuses to be cast.
            module.__dict__.setdefault("_apply", _GuardedMethod(self, module, "_apply"))

    def _guard_copies(self, module: torch.jit.ScriptModule) -> None:
        """Of a sleeping one C++ would make a copy, or a file, without weights: it asks no tensor and takes no hook."""
        for name in _COPYING:
            if name not in module.__dict__ and hasattr(module, name):
                module.__dict__[name] = _GuardedMethod(self, module, name)

    def guard_compiled(self, modules: Iterable[torch.nn.Module]) -> None:
        """`module.compile()`, which may come at any time, makes a call of which a part is compiled, hooks included."""
        for module in modules:
            compiled = module.__dict__.get("_compiled_call_impl")
            if compiled is not None and not isinstance(compiled, _GuardedCall):
                module._compiled_call_impl = _GuardedCall(self, module, compiled)

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
    """A module's forward pre-hooks. The gates are beside them, and show themselves only while none is open.

    torch asks whether there are any hooks before each forward, and takes a slow path if so: 2.7 µs for each module of a
    model, and fused kernels (`nn.TransformerEncoderLayer`) are not used at all. So the check costs what it must, and
    only a model that nobody holds pays for it. What looks into the dict itself, as the guards of `torch.compile` do,
    finds the user's hooks and nothing else.
    """

    def __init__(self, *items: Any) -> None:
        super().__init__(*items)
        self.gates: list[Gate] = []

    def __bool__(self) -> bool:
        return not self._any_open() or super().__len__() > 0

    def items(self) -> Any:
        """As torch goes through them before a forward."""
        return super().items() if self._any_open() else ((_NO_HANDLE, self.gates[0]), *super().items())

    def _any_open(self) -> bool:
        for gate in self.gates:
            if gate.open:
                return True
        return not self.gates

    def __reduce__(self) -> tuple[Any, ...]:
        # What a copy has is the user's own.
        return (OrderedDict, (list(super().items()),))


# Under which the gate is called; torch counts its hooks from 0.
_NO_HANDLE = -1


class _StateDictGuard:
    """Saving a sleeping model would save empty tensors, and what is loaded into one would be lost."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __call__(self, module: torch.nn.Module, *args: Any) -> None:
        self._gate(module, ())

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unguarded, ())


_COPYING = (
    *("save", "save_to_buffer", "_save_for_lite_interpreter", "_save_to_buffer_for_lite_interpreter"),
    *("__deepcopy__", "__copy__", "load_state_dict"),
)


class _GuardedMethod:
    """A method of one module that the gate is asked for first; known weakly, so it goes without a collection."""

    def __init__(self, gate: Gate, module: torch.nn.Module, name: str) -> None:
        self._gate, self._module, self._name = gate, weakref.ref(module), name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module = self._module()
        if module is None:
            raise ReferenceError(f"the module of {self._name!r} is gone")
        self._gate(module, ())
        return getattr(type(module), self._name)(module, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # What a copy has is its own.
        return (getattr, (self._module(), self._name))


class _GuardedCall:
    def __init__(self, gate: Gate, module: torch.nn.Module, compiled: Callable[..., Any]) -> None:
        self._gate, self._module, self._compiled = gate, module, compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._gate(self._module, args)
        return self._compiled(*args, **kwargs)


def gates_of(module: torch.nn.Module) -> Iterator[Gate]:
    """Of the models that were loaded with this module; more than one when they share it."""
    hooks = module._forward_pre_hooks
    if isinstance(hooks, _GatedHooks):
        return iter(tuple(hooks.gates))
    # At one moment: another thread may be adding one.
    return (hook for hook in tuple(hooks.values()) if isinstance(hook, Gate))


def _unguarded() -> Callable[..., None]:
    return _pass


def _pass(*args: Any) -> None:
    """A hook that does nothing."""
