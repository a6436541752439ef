"""What there is to do, one class per kind of work. Equal keys are the same work, which runs once at a time.

The base says to which object the work belongs: with the object it is forgotten, and the queue shares its places by
`namespace` and `object_uid`. A new kind of work is a new class here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PodKey:
    """Work that belongs to a pod, whichever ManagedModel asks for it."""

    namespace: str
    pod_uid: str

    @property
    def object_uid(self) -> str:
        return self.pod_uid


@dataclass(frozen=True, slots=True)
class ProbePod(PodKey):
    """Ask the pod for its models."""


@dataclass(frozen=True, slots=True)
class OrderModel(PodKey):
    """Order one model of the pod to a residency."""

    model: str


@dataclass(frozen=True, slots=True)
class LeasePolicy(PodKey):
    """Grant, renew or revoke the policy that one model of the pod has on lease from one ManagedModel."""

    model: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class ManagedModelKey:
    """Work that belongs to a ManagedModel; `owner_uid` is its UID."""

    namespace: str
    owner_uid: str

    @property
    def object_uid(self) -> str:
        return self.owner_uid


@dataclass(frozen=True, slots=True)
class WriteStatus(ManagedModelKey):
    """Write the status of the ManagedModel."""


@dataclass(frozen=True, slots=True)
class WriteEvent(ManagedModelKey):
    """Create an Event about the ManagedModel, or count it on. `what` tells its Events from each other."""

    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamespaceKey:
    """Work that belongs to a namespace."""

    namespace: str

    @property
    def object_uid(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class PublishTrust(NamespaceKey):
    """See to it that the namespace has the operator's certificate."""


@dataclass(frozen=True, slots=True)
class FleetKey:
    """Work that belongs to no single object and is never forgotten. Each kind of it counts as an object."""

    @property
    def namespace(self) -> str:
        return ""

    @property
    def object_uid(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class WriteFirstStatuses(FleetKey):
    """Write the first status of each ManagedModel that has none, slowly."""


Key = PodKey | ManagedModelKey | NamespaceKey | FleetKey
