"""One ManagedModel with everything known of its replicas at one moment: what status and telemetry are made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dormouse_contract import Action, Decision, Policy, Residency, Trigger, plan
from dormouse_contract.idleness import IdleSignal, Seen
from dormouse_contract.managed_model import ManagedModel
from dormouse_contract.wire import TransitionReport

from .cluster.fleet import Claim, Lost
from .cluster.pods import Pod
from .orders import Outcome


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
    loan_misunderstood: what the sidecar said of a loan that it does not know; empty when it takes them.
    """

    refusal: Outcome | None = None
    refusal_detail: str = ""
    dirty_idle_since: float | None = None
    last_transition: TransitionReport | None = None
    loan_misunderstood: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    pod: Pod
    model: str
    seen: Seen
    decision: Decision
    contact: Contact
    memory: ReplicaMemory
    held_by_demand: bool = False
    """A request brought it above what is desired a moment ago: going down again is the normal course of things."""

    @property
    def residency(self) -> Residency | None:
        return self.seen.observation.residency

    @property
    def exists(self) -> bool:
        """False only when the pod has told its models and neither it nor Prometheus knows this one."""
        told = self.contact.models
        return told is None or self.model in told or self.seen.reading is not None

    @property
    def misunderstood(self) -> str:
        """What the sidecar said of something that we send and it does not know; empty when there is nothing."""
        if self.memory.refusal is Outcome.BAD_BODY and self.moves:
            return self.memory.refusal_detail or "HTTP 422"
        return self.memory.loan_misunderstood

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
    """contacts: of the selected pods that have a sidecar. replicas: the models of those that are its own.

    trust_problem: why the operator's certificate can't be published in the namespace; empty when it can.
    """

    owner: ManagedModel
    selected: tuple[Pod, ...]
    contacts: tuple[tuple[Pod, Contact], ...]
    replicas: tuple[ReplicaView, ...]
    lost: tuple[Lost, ...]
    trust_problem: str = ""

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
    trust_problem: str = "",
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
        held = _held_by_demand(claim.owner.policy, seen, decision, memory, now - fresh_for_seconds)
        replicas.append(ReplicaView(pod, model, seen, decision, contact_of(pod), memory, held))
    contacts = tuple((pod, contact_of(pod)) for pod in claim.selected if pod.has_sidecar)
    return View(claim.owner, claim.selected, contacts, tuple(replicas), claim.lost, trust_problem)


def _held_by_demand(policy: Policy, seen: Seen, decision: Decision, memory: ReplicaMemory, lately: float) -> bool:
    """Whether it is on the GPU only because it was used lately, after whatever else was asked of it.

    Under a manual CPU, or with keep-alive 0, each request takes it up and an order or its own timer down again.
    """
    at, used = seen.observation, seen.observation.idle_since
    if decision.desired is None or at.residency is not Residency.GPU or used is None or used < lately:
        return False
    by_hand = decision.trigger is Trigger.MANUAL
    if not by_hand and policy.offload_after_seconds != 0:
        return False
    woken, told = at.resident_since, memory.last_transition
    if woken is None or (by_hand and policy.residency_since is not None and woken <= policy.residency_since):
        return False
    # What it has not told us of yet was none of our orders, which it answers.
    return told is None or woken > told.time + 1e-3 or told.trigger is Trigger.DEMAND


def _with_refusal(seen: Seen, memory: ReplicaMemory) -> Seen:
    refused_at = memory.dirty_idle_since
    if refused_at is None or seen.reading is None or seen.reading.idle_since != refused_at:
        return seen
    marked = replace(seen.observation, unload_refused=True)
    return Seen(seen.state, marked, seen.reading)
