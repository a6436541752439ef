"""Stops use of a model that nobody holds, with a sentence instead of torch's "mat2 must be a matrix"."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from ..errors import ModelNotHeld


class Gate:
    """Open while anybody in the process holds the model; a forward pre-hook on every module asks it.

    Not per thread or task: pools and streams hand work on. A retired gate stays shut for good: its model
    was unloaded and a later `load` made another object. ScriptModules take no hooks; their tensors raise.
    """

    __slots__ = ("model_name", "open")

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.open = False

    def __call__(self, module: torch.nn.Module, args: Any) -> None:
        if not self.open:
            name = self.model_name
            raise ModelNotHeld(
                f"{type(module).__name__} of model {name!r} was used while nobody holds it, so its weights may be "
                f"anywhere. Use it inside `with residency[{name!r}].on_gpu() as model:` and take `model` anew each time"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled or deep-copied module is nobody's to move: nothing guards it.
        return (_unguarded, ())

    def guard(self, modules: Iterable[torch.nn.Module]) -> None:
        """Add the hook to each module that has none yet."""
        for module in modules:
            if not isinstance(module, torch.jit.ScriptModule) and self not in module._forward_pre_hooks.values():
                module.register_forward_pre_hook(self, prepend=True)


def carries_gate(module: torch.nn.Module) -> bool:
    """Whether a model that was loaded before has this module: its weights are then wherever that model is."""
    return any(isinstance(hook, Gate) for hook in module._forward_pre_hooks.values())


def _unguarded() -> Callable[[torch.nn.Module, Any], None]:
    return _pass


def _pass(module: torch.nn.Module, args: Any) -> None:
    """A hook that does nothing."""
