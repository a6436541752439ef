"""The Lease object as we read and write it. Pure: bodies in, bodies out.

A body that was read is written back whole with its resourceVersion and UID, so the API server refuses it when
anybody wrote in between, and labels that others put on it stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_contract.timestamps import to_rfc3339_micro


@dataclass(frozen=True, slots=True)
class Lease:
    """`holder` is empty when nobody has it. `transitions` counts changes of holder since it was created."""

    body: dict[str, Any]
    uid: str
    holder: str
    transitions: int
    duration_seconds: float | None

    @property
    def spec(self) -> Mapping[str, Any]:
        """What a holder changes at each renewal; labels and annotations are no sign of life."""
        return self.body.get("spec") or {}

    def is_same_renewal(self, other: "Lease | None") -> bool:
        return other is not None and self.uid == other.uid and self.spec == other.spec


def read(body: dict[str, Any]) -> Lease:
    spec = body.get("spec") or {}
    return Lease(
        body,
        uid=str(body["metadata"]["uid"]),
        holder=str(spec.get("holderIdentity") or ""),
        transitions=int(spec.get("leaseTransitions") or 0),
        duration_seconds=spec.get("leaseDurationSeconds"),
    )


def created(name: str, holder: str, duration_seconds: int, now: float) -> dict[str, Any]:
    """`now` is for people who look at it; nobody's decisions depend on it."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "dormouse"}},
        "spec": _spec(holder, duration_seconds, now, acquired=to_rfc3339_micro(now), transitions=0),
    }


def claimed(lease: Lease, holder: str, duration_seconds: int, now: float) -> dict[str, Any]:
    """Each change of holder is one more transition; having it back from ourselves is none."""
    transitions = lease.transitions + (lease.holder != holder)
    return lease.body | {
        "spec": _spec(holder, duration_seconds, now, acquired=to_rfc3339_micro(now), transitions=transitions)
    }


def renewed(lease: Lease, holder: str, duration_seconds: int, now: float, transitions: int) -> dict[str, Any]:
    acquired = lease.spec.get("acquireTime")
    return lease.body | {"spec": _spec(holder, duration_seconds, now, acquired=acquired, transitions=transitions)}


def released(lease: Lease, now: float, transitions: int) -> dict[str, Any]:
    return renewed(lease, "", 1, now, transitions)


def _spec(holder: str, duration_seconds: int, now: float, *, acquired: object, transitions: int) -> dict[str, Any]:
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": duration_seconds,
        "acquireTime": acquired,
        "renewTime": to_rfc3339_micro(now),
        "leaseTransitions": transitions,
    }
