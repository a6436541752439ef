"""Lets the torch models of this process sleep: off the GPU when idle, back before the next answer."""

import importlib
from typing import TYPE_CHECKING, Any

from dormouse_contract import Residency, Trigger

from .errors import (
    ConfigurationError,
    CopyFailed,
    DeviceBroken,
    DeviceFull,
    DormouseError,
    ForkedProcess,
    HostFull,
    IntegrityError,
    LoadFailed,
    ModelBusy,
    ModelChanged,
    ModelNotHeld,
    NoRoom,
    NoSuchModel,
    QueueFull,
    StaleOrder,
    TransitionFailed,
    WakeTimeout,
)

if TYPE_CHECKING:
    from .engines.torch.checks.canary import digest
    from .engines.torch.layout.from_safetensors import Safetensors
    from .manager import ResidencyManager
    from .model import Model

__all__ = [
    "ConfigurationError",
    "CopyFailed",
    "DeviceBroken",
    "DeviceFull",
    "DormouseError",
    "ForkedProcess",
    "HostFull",
    "IntegrityError",
    "LoadFailed",
    "Model",
    "ModelBusy",
    "ModelChanged",
    "ModelNotHeld",
    "NoRoom",
    "NoSuchModel",
    "QueueFull",
    "Residency",
    "ResidencyManager",
    "Safetensors",
    "StaleOrder",
    "TransitionFailed",
    "Trigger",
    "WakeTimeout",
    "digest",
]


# The names that need torch, and where they are: imported at their first use, since `--help` and an error in a setting
# should not wait for it.
_LAZY = {
    "Model": ".model",
    "ResidencyManager": ".manager",
    "Safetensors": ".engines.torch.layout.from_safetensors",
    "digest": ".engines.torch.checks.canary",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name], __name__), name)
