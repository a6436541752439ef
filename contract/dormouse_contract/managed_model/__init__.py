"""What a ManagedModel means, said once: operator, console and plugin read objects through here and nowhere else."""

from .object import API_VERSION, GROUP, KIND, PLURAL, VERSION, ManagedModel, Name, managed_model, version_of
from .spec import Labels, Spec, SpecProblem, SpecProblemReason, read_spec
from .status import (
    IDLE_SIGNAL_AVAILABLE,
    MIXED,
    READY,
    REPLICAS_REACHABLE,
    UNKNOWN,
    Condition,
    LastTransition,
    ReplicaCounts,
    Status,
    Truth,
)
from .wording import AUTO, WindowWording, Wording

__all__ = [
    "API_VERSION",
    "AUTO",
    "GROUP",
    "IDLE_SIGNAL_AVAILABLE",
    "KIND",
    "MIXED",
    "PLURAL",
    "READY",
    "REPLICAS_REACHABLE",
    "UNKNOWN",
    "VERSION",
    "Condition",
    "Labels",
    "LastTransition",
    "ManagedModel",
    "Name",
    "ReplicaCounts",
    "Spec",
    "SpecProblem",
    "SpecProblemReason",
    "Status",
    "Truth",
    "WindowWording",
    "Wording",
    "managed_model",
    "read_spec",
    "version_of",
]
