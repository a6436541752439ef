"""The calls to replicas, and the little that is remembered of them. All of it may be lost at any moment.

Each call is work for the queue (`workqueue/`): whatever the pod answers becomes a result.
"""

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from dormouse_contract.managed_model import ManagedModel
from dormouse_contract.wire import ModelReport, OrderStamp, ResidencyOrder

from .cluster.pods import Pod
from .control_client import ControlClient
from .loans import Lent, Terms, lease_of, loan, withdrawal
from .orders import Answer, Fence, Outcome
from .quiet_log import QuietLog
from .telemetry import Telemetry
from .view import MAX_MODELS_PER_POD, Contact, ReplicaMemory, ReplicaView
from .workqueue.keys import LeasePolicy
from .workqueue.result import Done, RequeueAfter, Result, Retry, Unanswered

# A healthy pod is asked again for its models this rarely; its transitions show in Prometheus at once.
PROBE_HOLDS_SECONDS = 1800.0
REFUSAL_HOLDS_SECONDS = 60.0
# Another operator leads; whoever leads next may try at once.
NOTHING_SENT = Done()
# Of one namespace; a replica that takes each order and does not move is ordered again and again.
ORDERS_LOGGED_PER_MINUTE = 60
log = QuietLog(logging.getLogger(__name__))
order_log = QuietLog(logging.getLogger(__name__), lines=ORDERS_LOGGED_PER_MINUTE)


class Replicas:
    """Owns what is known from the pods themselves. `on_news` is called when a pass may decide differently of a pod."""

    def __init__(
        self,
        client: ControlClient,
        fence: Callable[[], Fence | None],
        telemetry: Telemetry,
        *,
        clock: Callable[[], float],
        settle_seconds: float,
        on_news: Callable[[Pod], None],
    ) -> None:
        """`fence` is asked right before each order and loan: None while another operator leads, and nothing is sent.

        `settle_seconds`: how long Prometheus needs at most to show what an order did."""
        self._client = client
        self._fence = fence
        self._telemetry = telemetry
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._on_news = on_news
        self._contacts: dict[str, Contact] = {}
        self._memories: dict[tuple[str, str], ReplicaMemory] = {}
        self._generations: dict[str, int] = {}
        self._lent_under: Fence | None = None
        self.lent: dict[LeasePolicy, Lent] = {}

    def contact(self, pod: Pod) -> Contact:
        if pod.ip is None:
            return Contact(Outcome.UNREACHABLE, "it has no address yet")
        return self._contacts.get(pod.uid, Contact())

    def memory(self, pod: Pod, model: str) -> ReplicaMemory:
        return self._memories.get((pod.uid, model), ReplicaMemory())

    def forget_all_but(self, pod_uids: Container[str], owner_uids: Container[str]) -> None:
        """An owner that is gone is remembered until what it lent is taken back."""
        for uid in [uid for uid in self._contacts if uid not in pod_uids]:
            del self._contacts[uid]
        for key in [key for key in self._memories if key[0] not in pod_uids]:
            del self._memories[key]
        self.lent = {key: lent for key, lent in self.lent.items() if key.pod_uid in pod_uids}
        lenders = {key.owner_uid for key in self.lent}
        for owner in [uid for uid in self._generations if uid not in owner_uids and uid not in lenders]:
            del self._generations[owner]

    def forget(self, pod: Pod, model: str) -> None:
        """What was told and lent of one model: its process began anew."""
        self._memories.pop((pod.uid, model), None)
        for key in [key for key in self.lent if (key.pod_uid, key.model) == (pod.uid, model)]:
            del self.lent[key]

    async def probe(self, pod: Pod) -> Result:
        """Asks the pod for its models: proves that it is reachable and tells the last transitions."""
        answer = await self._client.list_models(pod.ip or "")
        models = sorted({snapshot.name for snapshot in answer.snapshots}) if answer.outcome.accepted else None
        if answer.ignored:
            self._telemetry.ignored(pod.namespace, answer.ignored)
        self._record(pod, answer, models)
        return RequeueAfter(PROBE_HOLDS_SECONDS) if answer.outcome.accepted else _again(answer)

    async def order(self, owner: ManagedModel, replica: ReplicaView) -> Result:
        decision, pod = replica.decision, replica.pod
        stamp = self._stamp(owner.uid, owner.generation)
        if stamp is None:
            return NOTHING_SENT
        assert decision.desired is not None  # noqa: S101 - an order always has a target
        body = ResidencyOrder(
            desired=decision.desired,
            trigger=decision.trigger,
            reason=decision.reason[:1024],
            if_idle_for_seconds=decision.if_idle_for_seconds,
            order=stamp,
            pod_uid=pod.uid,
        )
        answer = await self._client.order(pod.ip or "", replica.model, body)
        outcome = answer.outcome
        self._telemetry.ordered(decision.desired, outcome)
        self._log(owner, replica, answer)
        memory = self.memory(pod, replica.model)
        if outcome.accepted:
            memory = replace(memory, refusal=None, refusal_detail="", dirty_idle_since=None)
        else:
            memory = replace(memory, refusal=outcome, refusal_detail=answer.detail)
            if outcome is Outcome.DIRTY:
                # As the pod tells it; what is observed is corrected by clocks that may drift.
                told = replica.seen.reading
                memory = replace(memory, dirty_idle_since=told.idle_since if told is not None else None)
        self._memories[(pod.uid, replica.model)] = memory
        self._record(pod, answer, None)
        return self._result(replica, answer)

    async def lend(self, owner: ManagedModel, pod: Pod, model: str, terms: Terms, valid_for_seconds: float) -> Result:
        stamp = self._stamp(owner.uid, owner.generation)
        if stamp is None:
            return NOTHING_SENT
        answer = await self._client.lend(pod.ip or "", model, loan(terms, valid_for_seconds, stamp, pod.uid))
        if answer.outcome.reached:
            skew = (answer.detail or "HTTP 422") if answer.outcome is Outcome.BAD_BODY else ""
            self._memories[(pod.uid, model)] = replace(self.memory(pod, model), loan_misunderstood=skew)
        self._record(pod, answer, None)
        if answer.outcome.accepted:
            lent = Lent(terms, owner.uid, owner.generation, self._clock(), valid_for_seconds)
            self.lent[lease_of(owner, pod, model)] = lent
            return Done()
        log.warning(
            ("policy", pod.namespace),
            "%s/%s: %s does not take its policy yet: %s %s",
            pod.namespace,
            pod.name,
            model,
            answer.outcome,
            answer.detail,
        )
        return _again(answer)

    async def withdraw(self, key: LeasePolicy, pod: Pod) -> Result:
        """Whatever the pod answers, it has heard it; only when nobody answers is it tried again."""
        lent = self.lent.get(key)
        if lent is None:
            # It waited for its place, and the process began anew meanwhile.
            return Done()
        stamp = self._stamp(lent.owner, lent.generation)
        if stamp is None:
            return NOTHING_SENT
        answer = await self._client.lend(pod.ip or "", key.model, withdrawal(stamp, pod.uid))
        self._record(pod, answer, None)
        if not answer.outcome.reached or answer.outcome is Outcome.CANNOT_NOW:
            return _again(answer)
        if self.lent.get(key) is lent:
            del self.lent[key]
        return Done()

    def lead_anew(self) -> bool:
        """Whether the fence is new; then all is lent again: another may have lent, or taken back, meanwhile."""
        fence = self._fence()
        if fence is None or fence == self._lent_under:
            return False
        self._lent_under = fence
        self.lent = {key: replace(lent, at=float("-inf")) for key, lent in self.lent.items()}
        return True

    def _stamp(self, owner: str, generation: int) -> OrderStamp | None:
        """Never older than what this owner's replicas have heard: a withdrawal of a deleted owner must pass too."""
        self._generations[owner] = max(generation, self._generations.get(owner, 0))
        fence = self._fence()
        return None if fence is None else fence.stamp(owner, self._generations[owner])

    def _result(self, replica: ReplicaView, answer: Answer) -> Result:
        outcome = answer.outcome
        if outcome.accepted:
            # Without a signal we would never see that it was done: repeat a wake, but rarely.
            return RequeueAfter(REFUSAL_HOLDS_SECONDS if replica.residency is None else self._settle_seconds)
        if outcome in (Outcome.IN_USE, Outcome.STALE_ORDER):
            return RequeueAfter(self._settle_seconds)
        if outcome in (Outcome.DIRTY, Outcome.NO_SUCH_MODEL, Outcome.BAD_BODY):
            return RequeueAfter(REFUSAL_HOLDS_SECONDS)
        return _again(answer) if answer.retry_after_seconds is None else RequeueAfter(answer.retry_after_seconds)

    def _log(self, owner: ManagedModel, replica: ReplicaView, answer: Answer) -> None:
        """Each order that is taken; of those that are not, one a minute of each namespace."""
        quiet = order_log if answer.outcome.accepted else log
        quiet.info(
            ("order", owner.namespace),
            "%s/%s: %s of %s ordered to %s (%s): %s %s",
            owner.namespace,
            owner.name,
            replica.model,
            replica.pod.name,
            replica.decision.desired,
            replica.decision.reason,
            answer.outcome,
            answer.detail,
        )

    def _record(self, pod: Pod, answer: Answer, models: Sequence[str] | None) -> None:
        """`models`: all that the pod has, sorted; None where it was not asked."""
        before = self._contacts.get(pod.uid, Contact())
        after = replace(before, outcome=answer.outcome, detail=answer.detail)
        if models is not None:
            listed = frozenset(models[:MAX_MODELS_PER_POD])
            after = replace(after, models=listed, unlisted=len(models) - len(listed))
        self._contacts[pod.uid] = after
        # Of a pod with far too many models, only those that are managed are remembered, and what was ordered.
        listing = answer.snapshots if models is None else [one for one in answer.snapshots if after.lists(one.name)]
        moved = [self._remember(pod, snapshot) for snapshot in listing]
        reached = before.outcome is not None and before.outcome.reached
        same_models = (before.models, before.unlisted) == (after.models, after.unlisted)
        if any(moved) or not same_models or reached != answer.outcome.reached:
            self._on_news(pod)

    def _remember(self, pod: Pod, snapshot: ModelReport) -> bool:
        memory = self.memory(pod, snapshot.name)
        if memory.last_transition == snapshot.last_transition:
            return False
        self._memories[(pod.uid, snapshot.name)] = replace(memory, last_transition=snapshot.last_transition)
        return True


def _again(answer: Answer) -> Result:
    """A pod that gives no answer is left alone as a whole for a while, one that says no for this one thing."""
    answered = answer.outcome.reached and answer.outcome is not Outcome.UNEXPECTED
    return Retry() if answered else Unanswered()
