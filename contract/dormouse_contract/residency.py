"""Where a model's weights are, and the words for why they moved."""

from enum import StrEnum


class Residency(StrEnum):
    """Where a model's weights are: on the GPU, in host RAM, or only on disk.

    The values are what travels (ManagedModel, control API, metric labels).
    `tier` orders them by closeness to the GPU; the strings themselves have no useful order,
    so compare with `is_above` and never with `<`.
    """

    GPU = "GPU"
    CPU = "CPU"
    UNLOADED = "Unloaded"

    @property
    def tier(self) -> int:
        """2 on the GPU, 1 in host RAM, 0 on disk only."""
        return _TIERS[self]

    def is_above(self, other: "Residency") -> bool:
        """Whether this tier is closer to the GPU than `other`."""
        return self.tier > other.tier

    @staticmethod
    def highest(one: "Residency", other: "Residency") -> "Residency":
        """The tier closer to the GPU."""
        return one if one.tier >= other.tier else other


_TIERS = {Residency.GPU: 2, Residency.CPU: 1, Residency.UNLOADED: 0}


class Trigger(StrEnum):
    """What made a transition happen."""

    DEMAND = "Demand"
    IDLE = "Idle"
    AFTER_TASK = "AfterTask"
    MANUAL = "Manual"
    SCHEDULE = "Schedule"
    PRESSURE = "Pressure"
    STARTUP = "Startup"
    SHUTDOWN = "Shutdown"


class TransitionOutcome(StrEnum):
    """How a transition ended. `refused` means nothing was moved; `failed` means it was rolled back."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"


class RequestOutcome(StrEnum):
    """How one use of a model ended, as counted in `dormouse_model_requests_total`."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
