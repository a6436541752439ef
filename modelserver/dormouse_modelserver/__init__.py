"""Lets the torch models of this process sleep: off the GPU when idle, back before the next answer."""

from typing import TYPE_CHECKING, Any

from dormouse_contract import Residency, Trigger

from .errors import (
    ConfigurationError,
    CopyFailed,
    DeviceFull,
    DormouseError,
    HostFull,
    IntegrityError,
    LoadFailed,
    ModelBusy,
    ModelChanged,
    ModelNotHeld,
    NoSuchModel,
    StaleOrder,
    TransitionFailed,
    WakeTimeout,
)

if TYPE_CHECKING:
    from .manager import ResidencyManager
    from .model import Model

__all__ = [
    "ConfigurationError",
    "CopyFailed",
    "DeviceFull",
    "DormouseError",
    "HostFull",
    "IntegrityError",
    "LoadFailed",
    "Model",
    "ModelBusy",
    "ModelChanged",
    "ModelNotHeld",
    "NoSuchModel",
    "Residency",
    "ResidencyManager",
    "StaleOrder",
    "TransitionFailed",
    "Trigger",
    "WakeTimeout",
]


def __getattr__(name: str) -> Any:
    """The names that need torch, at their first use: `--help` and an error in a setting should not wait for it."""
    if name == "ResidencyManager":
        from .manager import ResidencyManager

        return ResidencyManager
    if name == "Model":
        from .model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
