"""The loop: observe → plan → order → record.

Level-based: a look at a ManagedModel sees all that is known of it and starts what is missing, so that a pass
that was lost, doubled or cut off in the middle does no harm. Whom a pass looks at is a saving and no more
(`dirty_set.py`): a pass over the whole fleet finds the same. Calls run beside the loop (`workqueue/`); a pass
itself waits for nothing but Prometheus.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial

from dormouse_contract import Action

from .cluster.fleet import Fleet
from .cluster.resources import ManagedModel, Name, Pod
from .dirty_set import DirtySet
from .idle_signal.changes import changed_pods
from .idle_signal.signal import IdleSignal, SignalState
from .keys.trust import TrustPublisher
from .lending import Lending
from .replicas import Replicas
from .reporting.recorder import Recorder
from .telemetry import Telemetry
from .view import ReplicaView, View, look
from .workqueue.keys import OrderModel, ProbePod
from .workqueue.queue import WorkQueue

# A change in the cluster seldom comes alone: a rollout is dozens of events.
DEBOUNCE_SECONDS = 0.2
# How often the published trust is looked at where it was published already.
TRUST_CHECK_SECONDS = 60.0
# So many looks are about 10 ms; then others have their turn, the Lease's renewal among them.
LOOKS_WITHOUT_PAUSE = 100
log = logging.getLogger(__name__)


class Reconciler:
    """`read_signal`, the clocks and everything that talks are passed in. `last_finished` is for liveness."""

    def __init__(
        self,
        fleet: Fleet,
        replicas: Replicas,
        recorder: Recorder,
        trust: TrustPublisher,
        telemetry: Telemetry,
        read_signal: Callable[[], Awaitable[IdleSignal]],
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        tick_seconds: float,
        scrape_interval_seconds: float,
        leads: Callable[[], bool] = lambda: True,
        concurrency: int = 32,
    ) -> None:
        """`leads`: while false, a pass observes, plans and asks pods for their models, and changes nothing."""
        self._fleet = fleet
        self._replicas = replicas
        self._recorder = recorder
        self._trust = trust
        self._telemetry = telemetry
        self._read_signal = read_signal
        self._clock = clock
        self._monotonic = monotonic
        self._tick_seconds = tick_seconds
        self._leads = leads
        # A sample may be one scrape old when it is read, and one scrape may be missed.
        self._fresh_for_seconds = 2 * scrape_interval_seconds + tick_seconds
        self._queue = WorkQueue(concurrency=concurrency, monotonic=monotonic)
        self._signal = IdleSignal(failure="Prometheus was not asked yet")
        self._signal_read_at = float("-inf")
        self._trust_checked_at = float("-inf")
        self._dirty = DirtySet()
        self._views: dict[Name, View] = {}
        self._shown: set[tuple[str, str]] = set()
        self._lending = Lending(
            replicas,
            self._queue,
            fleet.pods.values,
            clock=clock,
            scrape_interval_seconds=scrape_interval_seconds,
        )
        self.last_finished = monotonic()

    async def run(self) -> None:
        """Until cancelled. A pass that fails in an unforeseen way is logged, and the next one begins anew."""
        while True:
            started = self._monotonic()
            self._fleet.changed.clear()
            try:
                await self.reconcile()
            except Exception:
                log.exception("A pass over the fleet failed; models stay as they are until the next one.")
                self._dirty.everything()
            took = self._monotonic() - started
            # Where a pass is expensive, a stream of changes must not make it the only thing we do.
            await asyncio.sleep(max(DEBOUNCE_SECONDS, 5 * took))
            rest = started + self._tick_seconds - self._monotonic()
            if rest > 0:
                try:
                    async with asyncio.timeout(rest):
                        await self._fleet.changed.wait()
                except TimeoutError:
                    pass

    async def stop(self, within_seconds: float) -> None:
        await asyncio.gather(self._queue.shut_down(within_seconds), self._recorder.queue.shut_down(within_seconds))

    async def reconcile(self) -> None:
        """One pass."""
        started = self._monotonic()
        if self._leads():
            await self._publish_trust()
        if self._leads() and self._replicas.lead_anew():
            self._lending.lead_anew()
            # As a standby nothing was changed, so nothing counts as settled.
            self._dirty.everything()
        names = await self._whom()
        for position, name in enumerate(names):
            if position % LOOKS_WITHOUT_PAUSE == LOOKS_WITHOUT_PAUSE - 1:
                await asyncio.sleep(0)
            owner = self._fleet.managed_models.get(name)
            if owner is None:
                self._drop(name)
            else:
                self._visit(owner)
        if self._leads():
            self._lending.withdraw()
        self._telemetry.fleet(self._views.values())
        self.last_finished = self._monotonic()
        self._telemetry.reconciled(self.last_finished - started, self._clock())

    async def _publish_trust(self) -> None:
        namespaces = {namespace for namespace, _ in self._fleet.managed_models}
        new = self._trust.unpublished(namespaces)
        if self._monotonic() - self._trust_checked_at >= TRUST_CHECK_SECONDS:
            self._trust_checked_at = self._monotonic()
            new = namespaces
        if new:
            await self._trust.publish(new)

    async def _whom(self) -> Collection[Name]:
        """A pass that a change brought forward may use what Prometheus said half a tick ago."""
        names, owners_of = self._fleet.take_touched(), self._fleet.owners_of
        if self._monotonic() - self._signal_read_at >= self._tick_seconds / 2:
            before, self._signal = self._signal, await self._read_signal()
            self._signal_read_at = self._monotonic()
            names |= self._dirty.unsettled()
            pods = changed_pods(before, self._signal, self._fresh_for_seconds)
            if pods is None:
                self._dirty.everything()
            else:
                names |= {owner.key for pod in map(self._fleet.pods.get, pods) if pod for owner in owners_of(pod)}
        now = self._clock()
        if not self._dirty.takes_everything(now):
            return names.union(self._dirty.due(now))
        self._tidy()
        return self._fleet.managed_models.keys() | self._views.keys()

    def _tidy(self) -> None:
        """Forgets what is gone. Until then it takes room and does nothing: UIDs are never used again."""
        alive = {pod.uid for pod in self._fleet.pods.values() if pod.alive}
        self._queue.forget_pods_but(alive)
        owners = {owner.uid for owner in self._fleet.managed_models.values()}
        self._replicas.forget_all_but(alive, owners)
        self._recorder.forget_all_but(owners)
        self._lending.forget_all_but(alive, owners)
        self._shown = {key for key in self._shown if key[0] in alive}

    def _visit(self, owner: ManagedModel) -> None:
        """Observes and plans for one ManagedModel, and starts what is missing."""
        before = self._views.get(owner.key)
        if before is not None and before.owner.uid != owner.uid:
            self._drop(owner.key)
        view = self._views[owner.key] = self._look(owner)
        self._notice_restarts(view)
        self._introduce(view)
        written = True
        if self._leads():
            self._lending.want(view)
            self._act(view)
            written = self._recorder.record(view)
        now = self._clock()
        loans = self._lending.due_at(view, now) if self._leads() else []
        settled = written and self._is_settled(view) and not any(at <= now for at in loans)
        self._dirty.looked_at(owner.key, settled=settled, again_at=self._again_at(view, now, loans))

    def _drop(self, name: Name) -> None:
        """It was deleted; what it lent is taken back by `Lending.withdraw`."""
        view = self._views.pop(name, None)
        if view is not None:
            self._lending.want_nothing(view.owner.uid)
        self._dirty.forget((name,))

    def _look(self, owner: ManagedModel) -> View:
        return look(
            self._fleet.claim(owner, self._models_of),
            self._signal,
            self._clock(),
            fresh_for_seconds=self._fresh_for_seconds,
            contact_of=self._replicas.contact,
            memory_of=self._replicas.memory,
        )

    def _models_of(self, pod: Pod) -> frozenset[str]:
        told = self._replicas.contact(pod).models or frozenset()
        return told | self._signal.models_of(pod.namespace, pod.name)

    def _act(self, view: View) -> None:
        for replica in view.replicas:
            key = OrderModel(replica.pod.namespace, replica.pod.uid, replica.model)
            outcome = replica.contact.outcome
            if outcome is None or not outcome.reached or not replica.exists:
                continue
            self._lending.lend(view.owner, replica)
            if replica.decision.action is Action.ORDER:
                self._order(key, view.owner, replica)
            else:
                self._queue.forget(key)

    def _is_settled(self, view: View) -> bool:
        """Nothing is under way or to be tried again."""
        return all(
            contact.outcome is not None
            and contact.outcome.reached
            and self._queue.due_in(ProbePod(pod.namespace, pod.uid)) is not None
            for pod, contact in view.contacts
        ) and not any(
            replica.decision.action is Action.ORDER or _untold_transition(replica) for replica in view.replicas
        )

    def _again_at(self, view: View, now: float, loans: Iterable[float]) -> float | None:
        """The first moment to come at which time alone may call for something (Unix seconds)."""
        contacts = (self._queue.due_in(ProbePod(pod.namespace, pod.uid)) for pod, _ in view.contacts)
        times = [
            *(replica.decision.revisit_at for replica in view.replicas),
            *(now + seconds for seconds in contacts if seconds is not None),
            *loans,
        ]
        return min((at for at in times if at is not None and at > now), default=None)

    def _introduce(self, view: View) -> None:
        """At first sight, when Prometheus shows a transition that we have not heard of, and until it works."""
        for pod, contact in view.contacts:
            if pod.ip is not None:
                lost = contact.outcome is not None and not contact.outcome.reached
                subject = (pod.ip, self._untold_of(pod), lost)
                self._queue.add(ProbePod(pod.namespace, pod.uid), subject, partial(self._replicas.introduce, pod))

    def _untold_of(self, pod: Pod) -> tuple[tuple[str, float], ...]:
        """The same whichever of the pod's ManagedModels is looked at."""
        return tuple(
            sorted(
                (replica.model, untold)
                for owner in self._fleet.owners_of(pod)
                if (view := self._views.get(owner.key)) is not None
                for replica in view.replicas
                if replica.pod.uid == pod.uid and (untold := _untold_transition(replica)) is not None
            )
        )

    def _notice_restarts(self, view: View) -> None:
        """A model process that began anew has forgotten its lent policy, though its pod is the same.

        Its series are away meanwhile, for one scrape at least; so what was shown and is missing is told anew.
        """
        for replica in view.replicas:
            key = (replica.pod.uid, replica.model)
            if replica.seen.state is SignalState.MISSING:
                if key in self._shown:
                    self._shown.discard(key)
                    self._replicas.forget(replica.pod, replica.model)
            elif replica.seen.reading:
                self._shown.add(key)

    def _order(self, key: OrderModel, owner: ManagedModel, replica: ReplicaView) -> None:
        subject = (owner.uid, owner.generation, replica.decision.desired)
        self._queue.add(key, subject, lambda: self._replicas.order(owner, replica))


def _untold_transition(replica: ReplicaView) -> float | None:
    """The time of a transition that Prometheus shows and the pod has not told us of."""
    shown = replica.seen.reading.last_transition if replica.seen.reading is not None else None
    told = replica.memory.last_transition
    return shown if shown and (told is None or shown > told.time + 1e-3) else None
