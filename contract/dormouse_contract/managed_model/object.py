"""ManagedModels as typed values; of the objects that the API server sends nothing else is kept.

A ManagedModel is about 6 KB of dicts, most of it managedFields; the value here is a few hundred bytes, and
that is the difference between 60 MB and 5 MB at 10,000 of them.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..policy import Policy
from ..timestamps import from_rfc3339_or_none
from .spec import Labels, SpecProblem, read_spec
from .status import Status
from .wording import Wording

GROUP, VERSION, PLURAL, KIND = "dormouse.dev", "v1alpha1", "managedmodels", "ManagedModel"
API_VERSION = f"{GROUP}/{VERSION}"

Name = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class ManagedModel:
    """What a user asked for. `created` is Unix seconds; `resource_version` orders what watches tell.

    selector: empty for one that is not understood, which selects nothing.
    problems: what of the spec is not understood, in words; the rest holds without it.
    """

    uid: str
    generation: int
    resource_version: int
    namespace: str
    name: str
    created: float
    selector: Labels
    model: str | None
    policy: Policy
    wording: Wording
    problems: tuple[SpecProblem, ...]
    status: Status

    @property
    def key(self) -> Name:
        return (self.namespace, self.name)

    @property
    def precedence(self) -> tuple[bool, float, str]:
        """Who wins a model: the lowest. Naming the model beats the whole pod, then the older one wins."""
        return (self.model is None, self.created, self.name)


def managed_model(body: Mapping[str, Any]) -> ManagedModel:
    """From the object as the API server sends it. Raises nothing for whatever spec and status it let in."""
    metadata = body["metadata"]
    spec = read_spec(body.get("spec"), _residency_since(metadata.get("managedFields")))
    return ManagedModel(
        uid=metadata.get("uid", ""),
        generation=int(metadata.get("generation", 0)),
        resource_version=version_of(metadata),
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        created=from_rfc3339_or_none(metadata.get("creationTimestamp")) or 0.0,
        selector=spec.selector,
        model=spec.model,
        policy=spec.policy,
        wording=spec.wording,
        problems=spec.problems,
        status=Status.from_dict(body.get("status")),
    )


def _residency_since(managed_fields: object) -> float | None:
    """When `spec.residency` was last set: the latest time of whoever owns the field.

    It is the time of that owner's last change of anything, so at worst it is too late, and a replica that
    demand woke is then demoted once before its minimum residence is over; never while it is in use.
    """
    times: list[float] = []
    for entry in managed_fields if isinstance(managed_fields, list) else ():
        fields = entry.get("fieldsV1") if isinstance(entry, Mapping) else None
        owned = fields.get("f:spec") if isinstance(fields, Mapping) else None
        if isinstance(owned, Mapping) and "f:residency" in owned:
            since = from_rfc3339_or_none(entry.get("time"))
            times += [] if since is None else [since]
    return max(times, default=None)


def version_of(metadata: Mapping[str, Any]) -> int:
    """The number that orders what is heard of one object; 0 where it is none."""
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isascii() and text.isdigit() else 0
