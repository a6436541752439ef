"""The loop: which ManagedModels are visited, and when. What a visit does is said in `visit.py`.

Level-based, so a pass that was lost, doubled or cut off in the middle does no harm. Whom a pass visits is a saving
and no more (`dirty_set.py`): a pass over the whole fleet finds the same. A pass itself waits for nothing but
Prometheus.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from dormouse_contract.idleness import IdleSignal, fresh_for_seconds
from dormouse_contract.managed_model import ManagedModel, Name

from .cluster.fleet import Fleet
from .dirty_set import DirtySet
from .idle_signal.changes import changed_pods
from .keys.trust import TrustPublisher
from .lending import Lending
from .replicas import Replicas
from .reporting.recorder import Recorder
from .telemetry import Telemetry
from .visit import Visits
from .workqueue.queue import WorkQueue

# A change in the cluster seldom comes alone: a rollout is dozens of events.
DEBOUNCE_SECONDS = 0.2
# So many visits are about 10 ms; then others have their turn, the Lease's renewal among them.
VISITS_WITHOUT_PAUSE = 100
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
        self._fresh_for_seconds = fresh_for_seconds(scrape_interval_seconds, tick_seconds)
        self._signal = IdleSignal(failure="Prometheus was not asked yet")
        self._signal_read_at = float("-inf")
        self._dirty = DirtySet()
        self._queue = WorkQueue(concurrency=concurrency, monotonic=monotonic)
        self._lending = Lending(
            replicas,
            self._queue,
            fleet.pods.values,
            clock=clock,
            scrape_interval_seconds=scrape_interval_seconds,
        )
        self._visits = Visits(
            fleet,
            replicas,
            self._lending,
            recorder,
            self._queue,
            clock=clock,
            fresh_for_seconds=self._fresh_for_seconds,
            leads=leads,
            trust_problem=trust.problem,
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
        queues = self._queue, self._recorder.queue, self._trust.queue
        await asyncio.gather(*(queue.shut_down(within_seconds) for queue in queues))

    async def reconcile(self) -> None:
        """One pass."""
        started = self._monotonic()
        if self._leads():
            self._trust.keep({namespace for namespace, _ in self._fleet.managed_models})
        if self._leads() and self._replicas.lead_anew():
            self._lending.lead_anew()
            # As a standby nothing was changed, so nothing counts as settled.
            self._dirty.everything()
        names = await self._whom()
        for position, name in enumerate(names):
            if position % VISITS_WITHOUT_PAUSE == VISITS_WITHOUT_PAUSE - 1:
                await asyncio.sleep(0)
            owner = self._fleet.managed_models.get(name)
            if owner is None:
                self._drop(name)
            else:
                self._visit(owner)
        if self._leads():
            self._lending.withdraw()
        self._telemetry.fleet(self._visits.views)
        self.last_finished = self._monotonic()
        self._telemetry.reconciled(self.last_finished - started, self._clock())

    async def _whom(self) -> Collection[Name]:
        """A pass that a change brought forward may use what Prometheus said half a tick ago."""
        names = self._fleet.take_touched()
        if self._monotonic() - self._signal_read_at >= self._tick_seconds / 2:
            names |= await self._read_signal_anew()
        now = self._clock()
        if not self._dirty.takes_everything(now):
            return names.union(self._dirty.due(now))
        self._forget_what_is_gone()
        return self._fleet.managed_models.keys() | self._visits.visited

    async def _read_signal_anew(self) -> set[Name]:
        """Those that something is under way of, and those for whose pods Prometheus shows something else."""
        before, self._signal = self._signal, await self._read_signal()
        self._signal_read_at = self._monotonic()
        names = self._dirty.unsettled()
        changed = changed_pods(before, self._signal, self._fresh_for_seconds)
        if changed is None:
            self._dirty.everything()
            return names
        pods = filter(None, map(self._fleet.pods.get, changed))
        return names.union(owner.key for pod in pods for owner in self._fleet.owners_of(pod))

    def _forget_what_is_gone(self) -> None:
        """Until then it takes room and does nothing: UIDs are never used again."""
        pods = {pod.uid for pod in self._fleet.pods.values() if pod.alive}
        owners = {owner.uid for owner in self._fleet.managed_models.values()}
        self._queue.forget_pods_but(pods)
        self._replicas.forget_all_but(pods, owners)
        self._recorder.forget_all_but(owners)
        self._lending.forget_all_but(pods, owners)
        self._visits.forget_pods_but(pods)

    def _visit(self, owner: ManagedModel) -> None:
        visited = self._visits.visit(owner, self._signal)
        self._dirty.visited(owner.key, settled=visited.settled, again_at=visited.again_at)

    def _drop(self, name: Name) -> None:
        self._visits.drop(name)
        self._dirty.forget(name)
