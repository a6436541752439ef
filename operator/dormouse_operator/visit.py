"""What is done for one ManagedModel: observe → plan → act → record.

A visit sees all that is known of it and starts what is missing, so a visit that was lost, doubled or cut off in
the middle does no harm. It waits for nothing: calls run beside it (`workqueue/`). Whom the loop visits, and when,
is said in `reconciler.py`.
"""

from collections.abc import Callable, Collection, Container
from dataclasses import dataclass
from functools import partial

from dormouse_contract import Action
from dormouse_contract.idleness import IdleSignal, SignalState
from dormouse_contract.managed_model import ManagedModel, Name

from .cluster.fleet import Fleet
from .cluster.pods import Pod
from .lending import Lending
from .replicas import Replicas
from .reporting.recorder import Recorder
from .view import ReplicaView, View, look
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
    """Owns what was found at the last visit to each ManagedModel. `views` is all of it, for telemetry."""

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

    @property
    def views(self) -> Collection[View]:
        return self._views.values()

    @property
    def visited(self) -> Collection[Name]:
        """Those visited and not dropped since; some of them may be gone by now."""
        return self._views.keys()

    def visit(self, owner: ManagedModel, signal: IdleSignal) -> Visited:
        before = self._views.get(owner.key)
        if before is not None and before.owner.uid != owner.uid:
            self.drop(owner.key)
        view = self._views[owner.key] = self._look(owner, signal)
        self._notice_restarts(view)
        self._probe(view)
        written = True
        if self._leads():
            self._lending.want(view)
            self._act(view)
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

    def _look(self, owner: ManagedModel, signal: IdleSignal) -> View:
        def models_of(pod: Pod) -> frozenset[str]:
            told = self._replicas.contact(pod).models or frozenset()
            return told | signal.models_of(pod.namespace, pod.name)

        return look(
            self._fleet.claim(owner, models_of),
            signal,
            self._clock(),
            fresh_for_seconds=self._fresh_for_seconds,
            contact_of=self._replicas.contact,
            memory_of=self._replicas.memory,
            trust_problem=self._trust_problem(owner.namespace),
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

    def _probe(self, view: View) -> None:
        """At first sight, when Prometheus shows a transition that we have not heard of, and until it works."""
        for pod, contact in view.contacts:
            if pod.ip is not None:
                lost = contact.outcome is not None and not contact.outcome.reached
                subject = (pod.ip, self._unheard_of(pod), lost)
                self._queue.add(ProbePod(pod.namespace, pod.uid), subject, partial(self._replicas.probe, pod))

    def _unheard_of(self, pod: Pod) -> tuple[tuple[str, float], ...]:
        """The same whichever of the pod's ManagedModels is looked at."""
        return tuple(
            sorted(
                (replica.model, unheard)
                for owner in self._fleet.owners_of(pod)
                if (view := self._views.get(owner.key)) is not None
                for replica in view.replicas
                if replica.pod.uid == pod.uid and (unheard := _unheard_transition(replica)) is not None
            )
        )

    def _act(self, view: View) -> None:
        for replica in view.replicas:
            outcome = replica.contact.outcome
            if outcome is None or not outcome.reached or not replica.exists:
                continue
            self._lending.lend(view.owner, replica)
            self._order(view.owner, replica)

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
    shown = replica.seen.reading.last_transition if replica.seen.reading is not None else None
    heard = replica.memory.last_transition
    return shown if shown and (heard is None or shown > heard.time + 1e-3) else None
