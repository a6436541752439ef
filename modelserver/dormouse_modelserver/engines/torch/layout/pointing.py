"""Points a tensor at other bytes, on whatever device: its object stays, and so does all that holds it."""

from collections.abc import Iterable
from typing import Any

import torch


def point(tensor: torch.Tensor, data: torch.Tensor) -> None:
    """`tensor.data = data`, also between devices for which torch refuses that."""
    try:
        tensor.data = data
    except RuntimeError:
        if tensor.device.type == data.device.type:
            raise
        _swap(tensor, data)


def _swap(tensor: torch.Tensor, data: torch.Tensor) -> None:
    """The simulated device is a plug-in's, whose tensors are of another kind to torch than those of CPU and CUDA."""
    requires_grad, old = tensor.requires_grad, data.detach()
    torch._C._swap_tensor_impl(tensor, old)
    tensor.requires_grad_(requires_grad)
    # `old` is what C++ still knows of it; see `follow`.
    old._dormouse_now = tensor  # type: ignore[attr-defined]


def follow(modules: Iterable[torch.nn.Module], device: torch.device) -> None:
    """Give TorchScript, which keeps its tensors in C++, those that took the place of the ones it knows.

    Where torch points tensors elsewhere itself there is nothing to do.
    """
    for module in () if device.type in ("cpu", "cuda") else modules:
        concrete = getattr(module, "_concrete_type", None)
        if isinstance(module, torch.jit.ScriptModule) and concrete is not None:
            inside: Any = module._c
            for name in (*(name for name, _ in module.named_parameters(recurse=False)), *concrete.get_attributes()):
                known = inside.getattr(name)
                now = _now(known)
                if now is not known:
                    inside.setattr(name, now)


def _now(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return getattr(value, "_dormouse_now", value)
    if isinstance(value, list | tuple) and any(_now(each) is not each for each in value):
        return type(value)(_now(each) for each in value)
    return value
