"""One ManagedModel with everything known of its replicas at one moment: what status and telemetry are made of."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from heapq import nsmallest

from dormouse_contract import Action, Decision, Policy, Residency, Trigger, plan
from dormouse_contract.idleness import IdleSignal, Seen
from dormouse_contract.managed_model import ManagedModel
from dormouse_contract.wire import TransitionReport

from .cluster.managers import Claim, Lost
from .cluster.pods import Pod
from .orders import Outcome

# Of one pod; no engine that we know has so many. What a pod has beyond is named in a condition and left alone.
MAX_MODELS_PER_POD = 128


@dataclass(frozen=True, slots=True)
class Contact:
    """How the last call to a pod went. `outcome` None: none was made yet. `models` None: it has not said.

    unlisted: so many models it has beside `models`, which are too many to be managed.
    """

    outcome: Outcome | None = None
    detail: str = ""
    models: frozenset[str] | None = None
    unlisted: int = 0

    def lists(self, model: str) -> bool:
        """Whether what the pod says of this model is remembered."""
        return self.models is None or model in self.models


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
        """False only when the pod has said which models it has and neither it nor Prometheus knows this one."""
        said = self.contact.models
        return said is None or self.model in said or self.contact.unlisted > 0 or self.seen.reading is not None

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

    crowded: of the pods of which it takes all models, those that have more than are managed.
    trust_problem: why the operator's certificate can't be published in the namespace; empty when it can.
    """

    owner: ManagedModel
    selected: tuple[Pod, ...]
    contacts: tuple[tuple[Pod, Contact], ...]
    replicas: tuple[ReplicaView, ...]
    lost: tuple[Lost, ...]
    crowded: tuple[Pod, ...] = ()
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
    owner: ManagedModel,
    claims: Iterable[Claim],
    signal: IdleSignal,
    now: float,
    *,
    fresh_for_seconds: float,
    contact_of: Callable[[Pod], Contact],
    memory_of: Callable[[Pod, str], ReplicaMemory],
    trust_problem: str = "",
) -> Generator[None, None, View]:
    """Observes and decides for each replica that `owner` has. Pods without a sidecar have none.

    Yields after each short step, so that whoever drives it can let others in; what it returns is the view.
    """
    selected: list[Pod] = []
    contacts: list[tuple[Pod, Contact]] = []
    replicas: list[ReplicaView] = []
    lost: list[Lost] = []
    crowded: list[Pod] = []
    for claim in claims:
        pod = claim.pod
        selected.append(pod)
        lost += claim.lost
        yield
        if not pod.has_sidecar:
            continue
        contact = contact_of(pod)
        contacts.append((pod, contact))
        if owner.model is None and _is_crowded(contact, signal.models_of(pod.namespace, pod.name)):
            crowded.append(pod)
        for model in claim.held:
            memory = memory_of(pod, model)
            seen = signal.see((pod.namespace, pod.name, model), fresh_for_seconds)
            seen = _with_refusal(seen, memory)
            decision = plan(owner.policy, seen.observation, now)
            by_demand = _held_by_demand(owner.policy, seen, decision, memory, now - fresh_for_seconds)
            replicas.append(ReplicaView(pod, model, seen, decision, contact, memory, by_demand))
            yield
    return View(owner, tuple(selected), tuple(contacts), tuple(replicas), tuple(lost), tuple(crowded), trust_problem)


def known_models(contact: Contact, shown: frozenset[str]) -> list[str]:
    """The models of a pod that are managed: of those that it has by its own word and by Prometheus, the first ones."""
    models = shown | contact.models if contact.models else shown
    return nsmallest(MAX_MODELS_PER_POD, models)


def _is_crowded(contact: Contact, shown: frozenset[str]) -> bool:
    return contact.unlisted > 0 or len(shown | (contact.models or shown)) > MAX_MODELS_PER_POD


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
