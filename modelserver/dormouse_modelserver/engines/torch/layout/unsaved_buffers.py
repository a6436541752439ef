"""Tensors that no file has, since they are made from the configuration: non-persistent buffers, the frequencies of all
rotary models, masks, and plain attributes.

A model that was built on the meta device lacks them. It is built once more, with memory for these alone: whatever is
asked to be on the meta device is on the CPU, and each parameter is let go as soon as a module takes it.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from .inventory import Found, Inventory

T = TypeVar("T")
_META, _CPU = torch.device("meta"), torch.device("cpu")


def in_no_file(inventory: Inventory, found: Iterable[Found]) -> list[Found]:
    """Of these, what `state_dict()` leaves out."""
    saved = {id(module._parameters): set(module._parameters) for module in inventory.modules}
    for module in inventory.modules:
        saved[id(module._buffers)] = module._buffers.keys() - module._non_persistent_buffers_set
    return [one for one in found if not any(_is_saved(place, saved) for place in one.places)]


def _is_saved(place: Any, saved: Mapping[int, Any]) -> bool:
    return place is not None and place[1] in saved.get(id(place[0]), ())


def build_with_buffers(build: Callable[[], T]) -> T:
    """What `build` gives, with real buffers and parameters without memory."""
    thread = threading.get_ident()

    def without_memory(module: torch.nn.Module, name: str, parameter: Any) -> Any:
        if type(parameter) is not torch.nn.Parameter or parameter.is_meta or threading.get_ident() != thread:
            return None
        with torch._C.DisableTorchFunction():
            empty = torch.empty_like(parameter, device=_META)
            return torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(without_memory)
    try:
        with _OnTheCpu():
            return build()
    finally:
        handle.remove()


class _OnTheCpu(TorchFunctionMode):
    """Makes for real what would be made on the meta device, whether a `with` or an argument says so."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty_like:  # what `to_empty` makes has no values to take over
            return func(*args, **kwargs)
        source, target = _META, _CPU
        if func is torch.Tensor.to and args[0].is_meta:
            source, target = _CPU, _META  # a parameter that was let go: it can't be copied, and need not be
        if func in _device_constructors() and kwargs.get("device") is None:
            kwargs["device"] = _CPU
        args = tuple(target if _is(source, value) else value for value in args)
        return func(*args, **{name: target if _is(source, value) else value for name, value in kwargs.items()})


def _is(device: torch.device, value: object) -> bool:
    return value == device.type if isinstance(value, str) else isinstance(value, torch.device) and value == device
