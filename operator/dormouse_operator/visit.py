"""What is done for one ManagedModel: observe → plan → act → record.

A visit sees all that is known of it and starts what is missing, so a visit that was lost, doubled or cut off in
the middle does no harm. It waits for nothing: calls run beside it (`workqueue/`). It gives up the loop between its
steps (`turn.py`), and what it finds at a step is of that moment. Whom the loop visits, and when, is said in
`reconciler.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Generator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from dormouse_contract import Action
from dormouse_contract.idleness import IdleSignal, SignalState
from dormouse_contract.managed_model import ManagedModel, Name

from .cluster.fleet import Fleet
from .cluster.pods import Pod
from .lending import Lending
from .replicas import Replicas
from .reporting.recorder import Recorder
from .turn import Turn
from .view import Contact, ReplicaView, View, known_models, look
from .workqueue.keys import OrderModel, ProbePod
from .workqueue.queue import WorkQueue


@dataclass(frozen=True, slots=True)
class Visited:
    """settled: nothing is under way or to be tried again.

    again_at: when time alone may call for something (Unix seconds); None for never.
    """

    settled: bool
    again_at: float | None


class Visits:
    """Owns what was found at the last visit to each ManagedModel."""

    def __init__(
        self,
        fleet: Fleet,
        replicas: Replicas,
        lending: Lending,
        recorder: Recorder,
        queue: WorkQueue,
        *,
        clock: Callable[[], float],
        fresh_for_seconds: float,
        leads: Callable[[], bool],
        trust_problem: Callable[[str], str] = lambda namespace: "",
    ) -> None:
        """`leads`: while false, a visit observes, plans and asks pods for their models, and changes nothing.

        `trust_problem`: why the operator's certificate can't be published in a namespace; empty when it can.
        """
        self._fleet = fleet
        self._replicas = replicas
        self._lending = lending
        self._recorder = recorder
        self._queue = queue
        self._clock = clock
        self._fresh_for_seconds = fresh_for_seconds
        self._leads = leads
        self._trust_problem = trust_problem
        self._views: dict[Name, View] = {}
        self._shown: set[tuple[str, str]] = set()
        # By the pod's UID and the model: when it moved without the pod having said so yet.
        self._unheard: defaultdict[str, dict[str, float]] = defaultdict(dict)

    @property
    def visited(self) -> Collection[Name]:
        """Those visited and not dropped since; some of them may be gone by now."""
        return self._views.keys()

    def views(self) -> list[View]:
        return list(self._views.values())

    async def visit(self, owner: ManagedModel, signal: IdleSignal, turn: Turn) -> Visited:
        """Raises OverBudget when the time of `turn` is up; what was begun until then goes on."""
        before = self._views.get(owner.key)
        if before is not None and before.owner.uid != owner.uid:
            self.drop(owner.key)
        view = self._views[owner.key] = await _driven(self._look(owner, signal), turn)
        for replica in view.replicas:
            self._notice(replica)
            await turn.pause()
        for pod, contact in view.contacts:
            self._probe(pod, contact)
            await turn.pause()
        written = True
        if self._leads():
            self._lending.want(view)
            for replica in view.replicas:
                self._act(owner, replica)
                await turn.pause()
            written = self._recorder.record(view)
        now = self._clock()
        leases = self._lending.due_at(view, now) if self._leads() else []
        settled = written and self._is_settled(view) and not any(at <= now for at in leases)
        return Visited(settled, self._again_at(view, now, leases))

    def drop(self, name: Name) -> None:
        """It was deleted; what it lent is taken back by `Lending.withdraw`."""
        view = self._views.pop(name, None)
        if view is not None:
            self._lending.want_nothing(view.owner.uid)

    def forget_pods_but(self, uids: Container[str]) -> None:
        self._shown = {key for key in self._shown if key[0] in uids}
        for uid in [uid for uid, moved in self._unheard.items() if uid not in uids or not moved]:
            del self._unheard[uid]

    def _look(self, owner: ManagedModel, signal: IdleSignal) -> Generator[None, None, View]:
        def models_of(pod: Pod) -> list[str]:
            return known_models(self._replicas.contact(pod), signal.models_of(pod.namespace, pod.name))

        return look(
            owner,
            self._fleet.claims(owner, models_of),
            signal,
            self._clock(),
            fresh_for_seconds=self._fresh_for_seconds,
            contact_of=self._replicas.contact,
            memory_of=self._replicas.memory,
            trust_problem=self._trust_problem(owner.namespace),
        )

    def _notice(self, replica: ReplicaView) -> None:
        """A model process that began anew has forgotten its lent policy, though its pod is the same.

        Its series are away meanwhile, for one scrape at least; so what was shown and is missing is told anew.
        """
        key = (replica.pod.uid, replica.model)
        if replica.seen.state is SignalState.MISSING:
            if key in self._shown:
                self._shown.discard(key)
                self._replicas.forget(replica.pod, replica.model)
        elif replica.seen.reading:
            self._shown.add(key)
        unheard = _unheard_transition(replica)
        if unheard is None:
            self._unheard[replica.pod.uid].pop(replica.model, None)
        else:
            self._unheard[replica.pod.uid][replica.model] = unheard

    def _probe(self, pod: Pod, contact: Contact) -> None:
        """At first sight, when Prometheus shows a transition that we have not heard of, and until it works."""
        if pod.ip is not None:
            lost = contact.outcome is not None and not contact.outcome.reached
            # The same whichever of the pod's ManagedModels is looked at.
            unheard = tuple(sorted(self._unheard[pod.uid].items()))
            self._queue.add(
                ProbePod(pod.namespace, pod.uid), (pod.ip, unheard, lost), partial(self._replicas.probe, pod)
            )

    def _act(self, owner: ManagedModel, replica: ReplicaView) -> None:
        outcome = replica.contact.outcome
        if outcome is not None and outcome.reached and replica.exists:
            self._lending.lend(owner, replica)
            self._order(owner, replica)

    def _order(self, owner: ManagedModel, replica: ReplicaView) -> None:
        key = OrderModel(replica.pod.namespace, replica.pod.uid, replica.model)
        if replica.decision.action is Action.ORDER:
            subject = (owner.uid, owner.generation, replica.decision.desired)
            self._queue.add(key, subject, partial(self._replicas.order, owner, replica))
        else:
            self._queue.forget(key)

    def _is_settled(self, view: View) -> bool:
        return all(
            contact.outcome is not None and contact.outcome.reached and self._probe_due_in(pod) is not None
            for pod, contact in view.contacts
        ) and not any(
            replica.decision.action is Action.ORDER or _unheard_transition(replica) for replica in view.replicas
        )

    def _again_at(self, view: View, now: float, leases: Collection[float]) -> float | None:
        probes = (self._probe_due_in(pod) for pod, _ in view.contacts)
        times = [
            *(replica.decision.revisit_at for replica in view.replicas),
            *(now + seconds for seconds in probes if seconds is not None),
            *leases,
        ]
        return min((at for at in times if at is not None and at > now), default=None)

    def _probe_due_in(self, pod: Pod) -> float | None:
        return self._queue.due_in(ProbePod(pod.namespace, pod.uid))


def _unheard_transition(replica: ReplicaView) -> float | None:
    """The time of a transition that Prometheus shows and the pod has not told us of."""
    if not replica.contact.lists(replica.model):
        # It never would.
        return None
    shown = replica.seen.reading.last_transition if replica.seen.reading is not None else None
    heard = replica.memory.last_transition
    return shown if shown and (heard is None or shown > heard.time + 1e-3) else None


_Found = TypeVar("_Found")


async def _driven(steps: Generator[None, None, _Found], turn: Turn) -> _Found:
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            found: _Found = finished.value
            return found
        await turn.pause()
