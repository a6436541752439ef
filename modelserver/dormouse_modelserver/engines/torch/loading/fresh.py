"""Calls the user's `load` and looks at what came of it, before any of it is moved."""

import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from ....errors import LoadFailed
from ..checks.gate import gates_of
from ..layout.apart import why_apart
from ..layout.from_safetensors import Safetensors
from ..layout.inventory import Found, Inventory, Known, take_inventory
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
    """A model as `load` gave it. look: takes its inventory again. files: by the tensor's id, where its bytes are still
    on disk."""

    model: T
    look: Callable[[], Inventory]
    inventory: Inventory
    files: Mapping[int, FileSpan] = field(default_factory=dict)


def load_fresh(name: str, load: Callable[[], T], modules: Callable[[T], tuple[object, ...]] | None) -> Fresh[T]:
    """Raises `LoadFailed`: it raised, or gave nothing that can be moved."""

    def inventory_of(model: T, known: Known | None = None) -> Inventory:
        return take_inventory(model, None if modules is None else _picked(name, modules, model), known)

    try:
        model = load()
        if model is None:
            raise LoadFailed(f"load of model {name!r} returned None; is its `return` missing?")
        if inspect.iscoroutine(model):
            model.close()
            raise LoadFailed(f"load of model {name!r} returned a coroutine; write `def`, not `async def`")
        known = Known()
        inventory = inventory_of(model, known)
        files: Mapping[int, FileSpan] = {}
        if isinstance(load, Safetensors):
            files = load.assign(inventory, inventory_of)
            inventory = inventory_of(model, known)  # what was on the meta device are other tensors now
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
    return Fresh(model, lambda: inventory_of(model, known), inventory, files)


def _picked(name: str, modules: Callable[[T], tuple[object, ...]], model: T) -> Sequence[object]:
    picked: object
    try:
        picked = modules(model)
    except Exception as error:
        raise LoadFailed(f"modules of model {name!r} raised {type(error).__name__}: {error}") from error
    if isinstance(picked, torch.nn.Module):
        return (picked,)
    if isinstance(picked, list | tuple) and picked:
        return picked
    raise LoadFailed(
        f"modules of model {name!r} gave {type(picked).__name__}; give a tuple of what is to move, as in "
        "modules=lambda app: (app.model, app.tokenizer.codec)"
    )


def refuse_an_empty_one(name: str, model: object, inventory: Inventory, *, picked: bool) -> None:
    """Raises `LoadFailed` for one in which nothing was found to move: to call it "on the GPU" would not be true.

    Layers of torch's own that have no weights (`nn.Identity`) are all that there is of them, so they may pass.
    picked: by the user, with `modules`.
    """
    if any(found.tensor.numel() for found in inventory.tensors):
        return
    if inventory.modules and not inventory.opaque and all(_is_torchs_own(module) for module in inventory.modules):
        return
    if picked:
        raise LoadFailed(
            f"modules of model {name!r} picked nothing that has weights, so nothing would leave the GPU when it "
            "sleeps; name what holds them, as in modules=lambda app: (app.model, app.tokenizer.codec)"
        )
    seen = f" What was seen is not moved: {inventory.opaque[0]}." if inventory.opaque else ""
    raise LoadFailed(
        f"load of model {name!r} returned a {type(model).__name__} in which no weights were found, so nothing would "
        f"leave the GPU when it sleeps.{seen} Load all parts in `load` itself, or name what holds them, as in "
        "modules=lambda app: (app.model, app.tokenizer.codec)"
    )


def _is_torchs_own(module: torch.nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def refuse_what_can_not_be_moved(name: str, inventory: Inventory, own: list[Found]) -> None:
    """Raises `LoadFailed` for tensors of its `own` that are not on the CPU, or were moved and let go before."""
    mine = {id(found.tensor) for found in own}
    for module in _guarded(inventory):
        if any(id(tensor) in mine for tensor in _tensors_of(module)):
            raise LetGo(name, module)
    on_meta = [found.path for found in own if found.tensor.device.type == "meta"]
    if on_meta:
        raise LoadFailed(
            f"load of model {name!r} returned {_and_more(on_meta)} on a device without memory, torch's meta device: "
            "accelerate has offloaded them (device_map, cpu_offload, disk_offload), or nothing has filled them "
            "(init_empty_weights, low_cpu_mem_usage, torch.device('meta')). Return the model whole on the CPU, without "
            "device_map, and Dormouse moves it"
        )
    elsewhere = [found.path for found in own if found.tensor.device.type != "cpu"]
    if elsewhere:
        raise LoadFailed(
            f"load of model {name!r} put {_and_more(elsewhere)} on a device; return it on the CPU, Dormouse moves it"
        )


def _and_more(paths: list[str]) -> str:
    return f"{paths[0]!r}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def tensors_of_guarded(inventory: Inventory) -> list[torch.Tensor]:
    """Of the modules that are, or were, another loaded model's too."""
    tensors = (tensor for module in _guarded(inventory) for tensor in _tensors_of(module))
    return [tensor for tensor in tensors if why_apart(tensor) is None]


def _guarded(inventory: Inventory) -> list[torch.nn.Module]:
    return [module for module in inventory.modules if next(gates_of(module), None) is not None]


def _tensors_of(module: torch.nn.Module) -> list[torch.Tensor]:
    held = (*module.parameters(recurse=False), *module.buffers(recurse=False), *vars(module).values())
    return [tensor for tensor in held if isinstance(tensor, torch.Tensor)]
