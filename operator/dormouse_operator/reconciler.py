"""The loop: which ManagedModels are visited, and when. What a visit does is said in `visit.py`.

Level-based, so a pass that was lost, doubled or cut off in the middle does no harm. Whom a pass visits is a saving
and no more (`dirty_set.py`): a pass over the whole fleet finds the same. A pass itself waits for nothing but
Prometheus.

Nobody's ManagedModel holds up another's: each is visited by itself, with a limit of time, the namespaces in turn
(`waiting_visits.py`); a visit that fails is shown in the object's condition, counted, and the pass goes on.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from dormouse_contract.idleness import IdleSignal, fresh_for_seconds
from dormouse_contract.managed_model import ManagedModel, Name

from .cluster.fleet import Fleet
from .dirty_set import DirtySet
from .idle_signal.changes import changed_namespaces, changed_pods
from .keys.trust import TrustPublisher
from .lending import Lending
from .quiet_log import QuietLog
from .replicas import Replicas
from .reporting.conditions import TOO_EXPENSIVE, VISIT_FAILED
from .reporting.recorder import Recorder
from .telemetry import Telemetry
from .turn import OverBudget, Turn
from .visit import Visits
from .waiting_visits import WaitingVisits
from .workqueue.queue import WorkQueue

# A change in the cluster seldom comes alone: a rollout is dozens of events.
DEBOUNCE_SECONDS = 0.2
# After a pass, in times of the CPU that it took: a stream of changes must not make an expensive pass the only thing we
# do. Whoever waited for it in vain need not wait so long.
REST, REST_WHILE_SOMEBODY_WAITS = 5, 2
# Of CPU. A ManagedModel with a thousand replicas takes about a third of it.
VISIT_SECONDS = 0.25
# Of CPU, for the visits of one pass: a fleet of 10,000 has its first ones in three or four.
PASS_SECONDS = 1.0
PASS_SHARE_OF_TICK = 0.25
# A visit that failed is tried again then, or when something happens to the ManagedModel.
FAILED_VISIT_SECONDS = 60.0
log = QuietLog(logging.getLogger(__name__))


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
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        """`leads`: while false, a pass observes, plans and asks pods for their models, and changes nothing.

        `cpu` is the CPU time of the loop's thread."""
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
        self._cpu = cpu
        self._fresh_for_seconds = fresh_for_seconds(scrape_interval_seconds, tick_seconds)
        self._signal = IdleSignal(failure="Prometheus was not asked yet")
        self._signal_read_at = float("-inf")
        self._dirty = DirtySet()
        self._waiting = WaitingVisits()
        self._pass_seconds = min(PASS_SECONDS, PASS_SHARE_OF_TICK * tick_seconds)
        self._queue = WorkQueue(monotonic=monotonic)
        telemetry.waiting(self._queue.waiting_seconds)
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
        telemetry.fleet(fleet.managed_models.values, self._visits.views)
        self.last_finished = monotonic()

    async def run(self) -> None:
        """Until cancelled. A pass that fails in an unforeseen way is logged, and the next one begins anew."""
        while True:
            started, busy = self._monotonic(), self._cpu()
            self._fleet.changed.clear()
            try:
                await self.reconcile()
            except Exception:
                log.exception("pass", "A pass over the fleet failed; models stay as they are until the next one.")
                self._dirty.everything()
            busy = self._cpu() - busy
            rest = busy * (REST_WHILE_SOMEBODY_WAITS if self._waiting else REST)
            await asyncio.sleep(max(DEBOUNCE_SECONDS, min(rest, self._tick_seconds)))
            rest = started + self._tick_seconds - self._monotonic()
            if rest > 0 and not self._waiting:
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
            self._trust.keep(set(self._fleet.namespaces))
        if self._leads() and self._replicas.lead_anew():
            self._lending.lead_anew()
            # As a standby nothing was changed, so nothing counts as settled.
            self._dirty.everything()
        await self._find_whom()
        await self._visit_waiting()
        if self._leads():
            self._lending.withdraw()
        self.last_finished = self._monotonic()
        self._telemetry.reconciled(self.last_finished - started, self._clock())

    async def _find_whom(self) -> None:
        """A pass that a change brought forward uses what Prometheus said at this tick."""
        self._waiting.add(self._fleet.take_touched())
        if self._monotonic() - self._signal_read_at >= self._tick_seconds - DEBOUNCE_SECONDS:
            self._waiting.add(await self._read_signal_anew())
        now = self._clock()
        self._waiting.add(self._dirty.due(now))
        if self._dirty.takes_everything(now):
            self._forget_what_is_gone()
            self._waiting.add(self._fleet.managed_models.keys() | self._visits.visited, routine=True)

    async def _visit_waiting(self) -> None:
        """The namespaces in turn, until nobody waits or the time of the pass is up."""
        self._waiting.begin_pass()
        used, between = 0.0, Turn(math.inf, self._cpu)
        while used < self._pass_seconds and (name := self._waiting.next()) is not None:
            turn = Turn(VISIT_SECONDS, self._cpu)
            try:
                await self._visit(name, turn)
            finally:
                used += turn.used_seconds
                self._waiting.took(name[0], turn.used_seconds)
                await between.pause()

    async def _read_signal_anew(self) -> set[Name]:
        """Those that something is under way of, and those for whose pods Prometheus shows something else."""
        before, self._signal = self._signal, await self._read_signal()
        self._signal_read_at = self._monotonic()
        names = self._dirty.unsettled()
        changed = changed_pods(before, self._signal, self._fresh_for_seconds)
        if changed is None:
            self._dirty.everything()
            return names
        namespaces = changed_namespaces(before, self._signal)
        if namespaces:
            names |= {name for name in self._fleet.managed_models if name[0] in namespaces}
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

    async def _visit(self, name: Name, turn: Turn) -> None:
        """The one place where a visit may fail: what is wrong with one object is that object's matter."""
        owner = self._fleet.managed_models.get(name)
        if owner is None:
            self._visits.drop(name)
            self._dirty.forget(name)
            self._telemetry.dropped(name)
            return
        again_at: float | None = self._clock() + FAILED_VISIT_SECONDS
        settled = True
        try:
            visited = await self._visits.visit(owner, self._signal, turn)
            settled, again_at = visited.settled, visited.again_at
        except OverBudget:
            self._failed(owner, TOO_EXPENSIVE, f"To look at it takes more than {VISIT_SECONDS:g} s of CPU.")
        except Exception as error:
            cause = ("visit", owner.namespace, type(error))
            log.exception(cause, "%s/%s can't be looked at; the others are.", *name)
            self._failed(owner, VISIT_FAILED, f"{type(error).__name__}: {error}")
        self._dirty.visited(name, settled=settled, again_at=again_at)

    def _failed(self, owner: ManagedModel, reason: str, why: str) -> None:
        self._telemetry.visit_failed(owner.key, reason)
        if self._leads():
            self._recorder.record_failure(owner, reason, why)
