"""Calls the user's `load` and looks at what came of it, before any of it is moved."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from ....errors import LoadFailed
from ..checks.gate import gates_of
from ..layout.apart import why_apart
from ..layout.from_safetensors import Safetensors
from ..layout.inventory import Found, Inventory, take_inventory
from ..layout.weight_files import FileSpan

T = TypeVar("T")


class LetGo(LoadFailed):
    """`load` gave a module whose weights Dormouse has moved and let go. held: what of it, known weakly."""

    def __init__(self, name: str, held: object) -> None:
        self.held, what = weakref.ref(held), type(held).__name__
        super().__init__(
            f"load of model {name!r} returned a module of before ({what}), whose weights Dormouse moved and let go; "
            "build it anew in each call. What several models share must be kept by them alone (a weak reference in "
            "your cache), so that it goes with the last of them; a tensor that can't be packed can't be shared"
        )


@dataclass(frozen=True, slots=True)
class Fresh(Generic[T]):
    """A model as `load` gave it. files: by the tensor's id, where its bytes are still on disk."""

    model: T
    inventory: Inventory
    files: Mapping[int, FileSpan] = field(default_factory=dict)


def load_fresh(
    name: str, load: Callable[[], T], modules: Callable[[T], tuple[torch.nn.Module, ...]] | None
) -> Fresh[T]:
    """Raises `LoadFailed`: it raised, or gave nothing that can be moved."""
    try:
        model = load()
        if model is None:
            raise LoadFailed(f"load of model {name!r} returned None; is its `return` missing?")
        inventory = take_inventory(model, modules(model) if modules is not None else None)
        files = load.assign(inventory) if isinstance(load, Safetensors) else {}
    except LoadFailed:
        raise
    except BaseException as error:  # a load that calls sys.exit() must not take the worker along
        raise LoadFailed(f"load of model {name!r} raised {type(error).__name__}: {error}") from error
    for found in inventory.tensors:
        if torch.nn.parameter.is_lazy(found.tensor):
            raise LoadFailed(
                f"load of model {name!r} returned {found.path!r} without a shape ({type(found.tensor).__name__}); "
                "run it once on an example in `load`"
            )
    return Fresh(model, inventory, files)


def refuse_what_can_not_be_moved(name: str, inventory: Inventory, own: list[Found]) -> None:
    """Raises `LoadFailed` for tensors of its `own` that are not on the CPU, or were moved and let go before."""
    elsewhere = [found.path for found in own if found.tensor.device.type != "cpu"]
    if elsewhere:
        raise LoadFailed(
            f"load of model {name!r} put {elsewhere[0]!r} and {len(elsewhere) - 1} more on a device; "
            "return it on the CPU, Dormouse moves it"
        )
    mine = {id(found.tensor) for found in own}
    for module in _guarded(inventory):
        if any(id(tensor) in mine for tensor in _tensors_of(module)):
            raise LetGo(name, module)


def tensors_of_guarded(inventory: Inventory) -> list[torch.Tensor]:
    """Of the modules that are, or were, another loaded model's too."""
    tensors = (tensor for module in _guarded(inventory) for tensor in _tensors_of(module))
    return [tensor for tensor in tensors if why_apart(tensor) is None]


def _guarded(inventory: Inventory) -> list[torch.nn.Module]:
    return [module for module in inventory.modules if next(gates_of(module), None) is not None]


def _tensors_of(module: torch.nn.Module) -> list[torch.Tensor]:
    held = (*module.parameters(recurse=False), *module.buffers(recurse=False), *vars(module).values())
    return [tensor for tensor in held if isinstance(tensor, torch.Tensor)]
