"""The status of a ManagedModel as a value: read from the object, compared, and written as a merge patch.

Kept free of figures that change fast; what is compared here is what is written. Another version may have written it:
fields that are not known are passed over, words that are not known are kept as they came, and both are written anew.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

from ..timestamps import from_rfc3339_or_none
from .foreign import mapping

Truth = Literal["True", "False", "Unknown"]
READY, IDLE_SIGNAL_AVAILABLE, REPLICAS_REACHABLE = "Ready", "IdleSignalAvailable", "ReplicasReachable"
"""The types of the conditions."""
MIXED, UNKNOWN = "Mixed", "Unknown"
"""What a residency of several replicas may be beside a tier."""


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

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "status": self.status,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": self.last_transition_time,
            "reason": str(self.reason),
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    total: int = 0
    gpu: int = 0
    cpu: int = 0
    unloaded: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class LastTransition:
    """`time` is RFC 3339 with microseconds, so that it compares with the metric of the same moment.

    An empty text is what the status does not say, or can't: a trigger of a newer library.
    """

    from_: str
    to: str
    time: str
    trigger: str
    message: str

    @property
    def unix_seconds(self) -> float | None:
        """None for a time that can't be read."""
        return from_rfc3339_or_none(self.time)

    def to_dict(self) -> dict[str, str | None]:
        return {
            "from": self.from_ or None,
            "to": self.to or None,
            "time": self.time or None,
            "trigger": self.trigger or None,
            "message": self.message,
        }


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
    def from_dict(body: object) -> "Status":
        """Raises nothing, whatever is there."""
        said = mapping(body)
        counts, moved, listed = said.get("replicas"), said.get("lastTransition"), said.get("conditions")
        return Status(
            conditions=tuple(
                _condition(entry)
                for entry in (listed if isinstance(listed, list) else ())
                if isinstance(entry, Mapping)
            ),
            observed_generation=_count_or_none(said.get("observedGeneration")),
            desired_residency=_text_or_none(said.get("desiredResidency")),
            residency=_text_or_none(said.get("residency")),
            replicas=ReplicaCounts(**{name: _count_or_none(counts.get(name)) or 0 for name in _COUNTS})
            if isinstance(counts, Mapping)
            else None,
            gpu_memory_released=_text_or_none(said.get("gpuMemoryReleased")),
            last_transition=LastTransition(
                *(_text(moved, name) for name in ("from", "to", "time", "trigger", "message"))
            )
            if isinstance(moved, Mapping) and moved
            else None,
        )

    def to_patch(self) -> dict[str, Any]:
        """A merge patch of the status subresource: null removes, and the list of conditions is replaced."""
        counts, moved = self.replicas, self.last_transition
        return {
            "conditions": [condition.to_dict() for condition in self.conditions],
            "observedGeneration": self.observed_generation,
            "desiredResidency": self.desired_residency,
            "residency": self.residency,
            "replicas": None
            if counts is None
            else {name: getattr(counts, name) for name in _COUNTS} | {"summary": f"{counts.gpu}/{counts.total}"},
            "gpuMemoryReleased": self.gpu_memory_released,
            "lastTransition": None if moved is None else moved.to_dict(),
        }


_COUNTS = tuple(each.name for each in fields(ReplicaCounts))


def _condition(entry: Mapping[str, Any]) -> Condition:
    # Thousands of objects say the same, and each was parsed by itself.
    return Condition(
        sys.intern(_text(entry, "type")),
        cast("Truth", sys.intern(_text(entry, "status"))),
        sys.intern(_text(entry, "reason")),
        sys.intern(_text(entry, "message")),
        _count_or_none(entry.get("observedGeneration")) or 0,
        sys.intern(_text(entry, "lastTransitionTime")),
    )


def _text(entry: Mapping[str, Any], name: str) -> str:
    return _text_or_none(entry.get(name)) or ""


def _text_or_none(value: object) -> str | None:
    return str(value) if isinstance(value, str) else None


def _count_or_none(value: object) -> int | None:
    return value if type(value) is int else None
