"""The loop: observe → plan → order → record.

Level-based: each pass looks at the whole world anew and starts what is missing, so that a pass that was
lost, doubled or cut off in the middle does no harm. Calls run beside the loop (`errands.py`); a pass itself
waits for nothing but Prometheus.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from dormouse_contract import Action

from .errands import Errands
from .fleet import Fleet
from .idle_signal import IdleSignal, SignalState
from .loans import Inherited, is_due, terms_for, valid_for
from .recorder import Recorder
from .replicas import Replicas
from .resources import ManagedModel, Pod
from .telemetry import Telemetry
from .trust import TrustPublisher
from .view import Contact, ReplicaView, View, look

# A change in the cluster seldom comes alone: a rollout is dozens of events.
DEBOUNCE_SECONDS = 0.2
# How often the published trust is looked at where it was published already.
TRUST_CHECK_SECONDS = 60.0
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
        self._scrape_interval_seconds = scrape_interval_seconds
        self._leads = leads
        # A sample may be one scrape old when it is read, and one scrape may be missed.
        self._fresh_for_seconds = 2 * scrape_interval_seconds + tick_seconds
        self._errands = Errands(concurrency=concurrency, monotonic=monotonic)
        self._signal = IdleSignal(failure="Prometheus was not asked yet")
        self._signal_read_at = float("-inf")
        self._trust_checked_at = float("-inf")
        self._shown: set[tuple[str, str]] = set()
        self._inherited = Inherited()
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
        await asyncio.gather(self._errands.stop(within_seconds), self._recorder.errands.stop(within_seconds))

    async def reconcile(self) -> None:
        """One pass."""
        started = self._monotonic()
        if self._leads():
            await self._publish_trust()
        await self._observe()
        views = self._look()
        self._notice_restarts(views)
        alive = {pod.uid: pod for pod in self._fleet.pods.values() if pod.alive}
        if self._leads():
            if self._replicas.lead_anew():
                self._inherited = Inherited()
            for view in views:
                self._act(view)
                self._recorder.record(view)
            self._withdraw(views, alive)
        self._introduce(views)
        self._replicas.forget_all_but(alive)
        self._errands.forget(lambda key: isinstance(key, tuple) and key[1] not in alive)
        self._recorder.forget_all_but({view.owner.uid for view in views})
        self._telemetry.fleet(views)
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

    async def _observe(self) -> None:
        """A pass that a change brought forward may use what Prometheus said half a tick ago."""
        if self._monotonic() - self._signal_read_at >= self._tick_seconds / 2:
            self._signal = await self._read_signal()
            self._signal_read_at = self._monotonic()

    def _look(self) -> list[View]:
        now = self._clock()
        return [
            look(
                claim,
                self._signal,
                now,
                fresh_for_seconds=self._fresh_for_seconds,
                contact_of=self._replicas.contact,
                memory_of=self._replicas.memory,
            )
            for claim in self._fleet.claims(self._models_of)
        ]

    def _models_of(self, pod: Pod) -> frozenset[str]:
        told = self._replicas.contact(pod).models or frozenset()
        return told | self._signal.models_of(pod.namespace, pod.name)

    def _act(self, view: View) -> None:
        for replica in view.replicas:
            key = ("order", replica.pod.uid, replica.model)
            outcome = replica.contact.outcome
            if outcome is None or not outcome.reached or not replica.exists:
                continue
            self._lend(view.owner, replica)
            if replica.decision.action is Action.ORDER:
                self._order(key, view.owner, replica)
            else:
                self._errands.settle(key)

    def _introduce(self, views: Iterable[View]) -> None:
        """At first sight, when Prometheus shows a transition that we have not heard of, and until it works."""
        news: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
        contacts: dict[str, tuple[Pod, Contact]] = {}
        for view in views:
            contacts.update((pod.uid, (pod, contact)) for pod, contact in view.contacts)
            for replica in view.replicas:
                untold = _untold_transition(replica)
                if untold is not None:
                    news[replica.pod.uid].append((replica.model, untold))
        for uid, (pod, contact) in contacts.items():
            if pod.ip is not None:
                lost = contact.outcome is not None and not contact.outcome.reached
                subject = (pod.ip, tuple(sorted(news.get(uid, ()))), lost)
                self._errands.start(("pod", uid), subject, partial(self._replicas.introduce, pod))

    def _notice_restarts(self, views: Iterable[View]) -> None:
        """A model process that began anew has forgotten its lent policy, though its pod is the same.

        Its series are away meanwhile, for one scrape at least; so what was shown and is missing is told anew.
        """
        shown: set[tuple[str, str]] = set()
        for view in views:
            for replica in view.replicas:
                key = (replica.pod.uid, replica.model)
                if replica.seen.state is SignalState.MISSING and key in self._shown:
                    self._replicas.forget(replica.pod, replica.model)
                elif replica.seen.state is not SignalState.MISSING and (replica.seen.reading or key in self._shown):
                    shown.add(key)
        self._shown = shown

    def _order(self, key: tuple[str, str, str], owner: ManagedModel, replica: ReplicaView) -> None:
        subject = (owner.uid, owner.generation, replica.decision.desired)
        self._errands.start(key, subject, lambda: self._replicas.order(owner, replica))

    def _lend(self, owner: ManagedModel, replica: ReplicaView) -> None:
        now, pod, model = self._clock(), replica.pod, replica.model
        terms = terms_for(owner.policy, self._scrape_interval_seconds, now)
        lent = self._replicas.lent.get((pod.uid, model, owner.uid))
        if terms is None or not is_due(terms, owner.uid, lent, now, f"{pod.uid}/{model}"):
            return
        seconds = valid_for(owner.policy, now)
        self._errands.start(
            ("loan", pod.uid, model, owner.uid),
            terms,
            lambda: self._replicas.lend(owner, pod, model, terms, seconds),
        )

    def _withdraw(self, views: Sequence[View], alive: dict[str, Pod]) -> None:
        """What was lent and is no longer wanted: Paused, Observe, in conflict, deleted, or not selected."""
        now = self._clock()
        wanted = {
            (replica.pod.uid, replica.model, view.owner.uid)
            for view in views
            if terms_for(view.owner.policy, self._scrape_interval_seconds, now) is not None
            for replica in view.replicas
        }
        for view in views:
            self._replicas.lent.update(self._inherited.suspects(view, wanted))
        self._inherited.forget_all_but(alive, {view.owner.uid for view in views})
        for key in self._replicas.lent.keys() - wanted:
            pod = alive.get(key[0])
            if pod is not None and pod.ip is not None:
                self._start_withdrawal(key, pod)

    def _start_withdrawal(self, key: tuple[str, str, str], pod: Pod) -> None:
        self._errands.start(("loan", *key), "withdraw", lambda: self._replicas.withdraw(key, pod))


def _untold_transition(replica: ReplicaView) -> float | None:
    """The time of a transition that Prometheus shows and the pod has not told us of."""
    shown = replica.seen.reading.last_transition if replica.seen.reading is not None else None
    told = replica.memory.last_transition
    return shown if shown and (told is None or shown > told.time + 1e-3) else None
