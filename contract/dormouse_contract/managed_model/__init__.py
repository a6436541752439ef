"""What a ManagedModel means, said once: operator, console and plugin read objects through here and nowhere else."""

from .object import API_VERSION, GROUP, KIND, PLURAL, VERSION, Labels, ManagedModel, Name, managed_model
from .status import Condition, LastTransition, ReplicaCounts, Status, Truth

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Condition",
    "Labels",
    "LastTransition",
    "ManagedModel",
    "Name",
    "ReplicaCounts",
    "Status",
    "Truth",
    "managed_model",
]
