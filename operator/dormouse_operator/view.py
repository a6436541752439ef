"""One ManagedModel with everything known of its replicas at one moment: what status and telemetry are made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dormouse_contract import Action, Decision, Residency, plan
from dormouse_contract.wire import LastTransitionSnapshot

from .fleet import Claim, Lost
from .idle_signal import IdleSignal, Seen
from .orders import Outcome
from .resources import ManagedModel, Pod


@dataclass(frozen=True, slots=True)
class Contact:
    """How the last call to a pod went. `outcome` None: none was made yet. `models` None: never told."""

    outcome: Outcome | None = None
    detail: str = ""
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """What stays of a replica between two passes; lost at a restart without harm.

    refusal: why the last order was not taken, until one is. dirty_idle_since: the replica said `Dirty` when
    its `idle_since` was this, and as long as it is, it would say so again. last_transition: as last told.
    """

    refusal: Outcome | None = None
    refusal_detail: str = ""
    dirty_idle_since: float | None = None
    last_transition: LastTransitionSnapshot | None = None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    pod: Pod
    model: str
    seen: Seen
    decision: Decision
    contact: Contact
    memory: ReplicaMemory

    @property
    def residency(self) -> Residency | None:
        return self.seen.observation.residency

    @property
    def exists(self) -> bool:
        """False only when the pod has told its models and neither it nor Prometheus knows this one."""
        told = self.contact.models
        return told is None or self.model in told or self.seen.reading is not None

    @property
    def above_desired(self) -> bool:
        desired = self.decision.desired
        return self.residency is not None and desired is not None and self.residency.is_above(desired)

    @property
    def moves(self) -> bool:
        """Whether the decision is to move it now."""
        return self.decision.action is not Action.HOLD


@dataclass(frozen=True, slots=True)
class View:
    """contacts: of the selected pods that have a sidecar. replicas: the models of those that are its own."""

    owner: ManagedModel
    selected: tuple[Pod, ...]
    contacts: tuple[tuple[Pod, Contact], ...]
    replicas: tuple[ReplicaView, ...]
    lost: tuple[Lost, ...]

    @property
    def without_sidecar(self) -> list[Pod]:
        return [pod for pod in self.selected if not pod.has_sidecar]

    @property
    def missing(self) -> list[ReplicaView]:
        """Replicas of a model that their pod does not have."""
        return [replica for replica in self.replicas if not replica.exists]

    @property
    def present(self) -> list[ReplicaView]:
        return [replica for replica in self.replicas if replica.exists]


def look(
    claim: Claim,
    signal: IdleSignal,
    now: float,
    *,
    fresh_for_seconds: float,
    contact_of: Callable[[Pod], Contact],
    memory_of: Callable[[Pod, str], ReplicaMemory],
) -> View:
    """Observes and decides for each replica that the claim holds. Pods without a sidecar have none."""
    replicas: list[ReplicaView] = []
    for pod, model in claim.held:
        if not pod.has_sidecar:
            continue
        memory = memory_of(pod, model)
        seen = signal.see((pod.namespace, pod.name, model), fresh_for_seconds)
        seen = _with_refusal(seen, memory)
        decision = plan(claim.owner.policy, seen.observation, now)
        replicas.append(ReplicaView(pod, model, seen, decision, contact_of(pod), memory))
    contacts = tuple((pod, contact_of(pod)) for pod in claim.selected if pod.has_sidecar)
    return View(claim.owner, claim.selected, contacts, tuple(replicas), claim.lost)


def _with_refusal(seen: Seen, memory: ReplicaMemory) -> Seen:
    refused_at = memory.dirty_idle_since
    if refused_at is None or seen.reading is None or seen.reading.idle_since != refused_at:
        return seen
    marked = replace(seen.observation, unload_refused=True)
    return Seen(seen.state, marked, seen.reading)
