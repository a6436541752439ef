"""Which replica should have which loan now, and the calls that make it so: to lend, to refresh, to take back."""

from collections.abc import Callable, Container, Iterable
from functools import partial

from dormouse_contract.managed_model import ManagedModel

from .cluster.pods import Pod
from .loans import Inherited, Terms, due_at, lease_of, terms_for, valid_for
from .replicas import Replicas
from .view import ReplicaView, View
from .workqueue.keys import LeasePolicy
from .workqueue.queue import WorkQueue


class Lending:
    """Remembers per ManagedModel (by its UID) which replicas it lends to; what else was lent is taken back.

    `clock` is Unix seconds; `pods` are those of the fleet at the moment of the call.
    """

    def __init__(
        self,
        replicas: Replicas,
        queue: WorkQueue,
        pods: Callable[[], Iterable[Pod]],
        *,
        clock: Callable[[], float],
        scrape_interval_seconds: float,
    ) -> None:
        self._replicas = replicas
        self._queue = queue
        self._pods = pods
        self._clock = clock
        self._scrape_interval_seconds = scrape_interval_seconds
        self._wanted: dict[str, frozenset[LeasePolicy]] = {}
        # What may be lent and was wanted once; so that a pass need not look through all that is lent.
        self._dropped: set[LeasePolicy] = set()
        self._inherited = Inherited()

    def lead_anew(self) -> None:
        """Another led meanwhile, and may have lent."""
        self._inherited = Inherited()

    def want(self, view: View) -> None:
        may_lend = terms_for(view.owner.policy, self._scrape_interval_seconds, self._clock()) is not None
        self.want_nothing(view.owner.uid)
        wanted = self._wanted[view.owner.uid] = frozenset(
            lease_of(view.owner, replica.pod, replica.model) for replica in view.replicas if may_lend
        )
        suspects = dict(self._inherited.suspects(view, wanted))
        self._replicas.lent.update(suspects)
        self._dropped.update(suspects)
        self._dropped -= wanted

    def want_nothing(self, owner_uid: str) -> None:
        self._dropped |= self._wanted.pop(owner_uid, frozenset())

    def lend(self, owner: ManagedModel, replica: ReplicaView) -> None:
        """Starts the call when the replica has no loan, another one, or an old one."""
        now, pod, model = self._clock(), replica.pod, replica.model
        terms = terms_for(owner.policy, self._scrape_interval_seconds, now)
        key = lease_of(owner, pod, model)
        if terms is None or now < self._due_at(terms, key):
            return
        seconds = valid_for(owner.policy, now)
        self._queue.add(key, terms, lambda: self._replicas.lend(owner, pod, model, terms, seconds))

    def due_at(self, view: View, now: float) -> list[float]:
        """When each of its loans is to be lent again (Unix seconds)."""
        terms = terms_for(view.owner.policy, self._scrape_interval_seconds, now)
        if terms is None:
            return []
        return [self._due_at(terms, key) for key in self._wanted.get(view.owner.uid, ())]

    def _due_at(self, terms: Terms, key: LeasePolicy) -> float:
        return due_at(terms, key.owner_uid, self._replicas.lent.get(key), f"{key.pod_uid}/{key.model}")

    def withdraw(self) -> None:
        """What was lent and is no longer wanted: Paused, Observe, in conflict, deleted, or not selected."""
        unwanted = [key for key in self._dropped if key in self._replicas.lent]
        if unwanted:
            alive = {pod.uid: pod for pod in self._pods() if pod.alive and pod.ip is not None}
            for key in unwanted:
                if pod := alive.get(key.pod_uid):
                    self._queue.add(key, "withdraw", partial(self._replicas.withdraw, key, pod))

    def forget_all_but(self, pod_uids: Container[str], owner_uids: Container[str]) -> None:
        self._inherited.forget_all_but(pod_uids, owner_uids)
        nobody: frozenset[LeasePolicy] = frozenset()
        self._dropped = {key for key in self._replicas.lent if key not in self._wanted.get(key.owner_uid, nobody)}
