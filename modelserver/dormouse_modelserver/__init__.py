"""Lets the torch models of this process sleep: off the GPU when idle, back before the next answer."""

from dormouse_contract import Residency, Trigger

from .errors import (
    ConfigurationError,
    CopyFailed,
    DeviceFull,
    DormouseError,
    Draining,
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
from .manager import ResidencyManager
from .model import Model

__all__ = [
    "ConfigurationError",
    "CopyFailed",
    "DeviceFull",
    "DormouseError",
    "Draining",
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
