"""Random numbers of the device `sim`: `torch.Generator(device=model.device)`, as every pipeline is asked with."""

from typing import Any

import torch

from .device_type import DEVICE_TYPE


class _AnyGenerator(type(torch._C.Generator)):  # type: ignore[misc]
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, torch._C.Generator)


class Generator(torch._C.Generator, metaclass=_AnyGenerator):
    """torch can't make one for a device that a plug-in in Python brings: this one is the CPU's, as the kernels are."""

    def __new__(cls, device: Any = "cpu") -> Any:
        if torch.device(device).type != DEVICE_TYPE:
            return torch._C.Generator(device)
        made: Any = super().__new__(cls, "cpu")  # type: ignore[call-arg]
        made._on = torch.device(DEVICE_TYPE, 0)
        return made

    _on: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self._on
