"""The status of a ManagedModel as a value: read from the object, compared, and written as a merge patch.

Kept free of figures that change fast; what is compared here is what is written.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from ..timestamps import from_rfc3339_or_none

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Truth
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str = ""

    def after(self, previous: "Condition | None", now: str) -> "Condition":
        """With the time of the last change of `status`: kept from `previous` unless that changed."""
        unchanged = previous is not None and previous.status == self.status
        return replace(self, last_transition_time=previous.last_transition_time if unchanged and previous else now)


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    total: int = 0
    gpu: int = 0
    cpu: int = 0
    unloaded: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class LastTransition:
    """`time` is RFC 3339 with microseconds, so that it compares with the metric of the same moment."""

    from_: str
    to: str
    time: str
    trigger: str
    message: str

    @property
    def unix_seconds(self) -> float:
        return from_rfc3339_or_none(self.time) or 0.0


@dataclass(frozen=True, slots=True)
class Status:
    """Empty before the first visit."""

    conditions: tuple[Condition, ...] = ()
    observed_generation: int | None = None
    desired_residency: str | None = None
    residency: str | None = None
    replicas: ReplicaCounts | None = None
    gpu_memory_released: str | None = None
    last_transition: LastTransition | None = None

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> "Status":
        counts = body.get("replicas")
        moved = body.get("lastTransition")
        return Status(
            conditions=tuple(
                Condition(
                    # Thousands of objects say the same, and each was parsed by itself.
                    sys.intern(entry["type"]),
                    cast("Truth", sys.intern(entry["status"])),
                    sys.intern(entry["reason"]),
                    sys.intern(entry["message"]),
                    entry.get("observedGeneration", 0),
                    sys.intern(entry["lastTransitionTime"]),
                )
                for entry in body.get("conditions") or ()
            ),
            observed_generation=body.get("observedGeneration"),
            desired_residency=body.get("desiredResidency"),
            residency=body.get("residency"),
            replicas=None if counts is None else ReplicaCounts(**{name: counts.get(name, 0) for name in _COUNTS}),
            gpu_memory_released=body.get("gpuMemoryReleased"),
            last_transition=None
            if not moved
            else LastTransition(*(moved.get(name, "") for name in ("from", "to", "time", "trigger", "message"))),
        )

    def to_patch(self) -> dict[str, Any]:
        """A merge patch of the status subresource: null removes, and the list of conditions is replaced."""
        counts, moved = self.replicas, self.last_transition
        return {
            "conditions": [
                {
                    "type": condition.type,
                    "status": condition.status,
                    "observedGeneration": condition.observed_generation,
                    "lastTransitionTime": condition.last_transition_time,
                    "reason": str(condition.reason),
                    "message": condition.message,
                }
                for condition in self.conditions
            ],
            "observedGeneration": self.observed_generation,
            "desiredResidency": self.desired_residency,
            "residency": self.residency,
            "replicas": None
            if counts is None
            else {name: getattr(counts, name) for name in _COUNTS} | {"summary": f"{counts.gpu}/{counts.total}"},
            "gpuMemoryReleased": self.gpu_memory_released,
            "lastTransition": None
            if moved is None
            else {
                "from": moved.from_,
                "to": moved.to,
                "time": moved.time,
                "trigger": moved.trigger,
                "message": moved.message,
            },
        }


_COUNTS = ("total", "gpu", "cpu", "unloaded", "unknown")
