"""Writes what was found: the status, only when it changed, and the Events that go with it."""

import logging
from collections.abc import Callable, Container
from dataclasses import replace
from functools import partial

from dormouse_contract.managed_model import GROUP, PLURAL, READY, VERSION, ManagedModel, Status
from dormouse_contract.timestamps import to_rfc3339

from ..cluster.fleet import Fleet
from ..cluster.kube import MERGE_PATCH, Kube
from ..errors import KubeConflict, KubeError, KubeNotFound
from ..quiet_log import QuietLog
from ..view import View
from ..workqueue.keys import WriteFirstStatuses, WriteStatus
from ..workqueue.queue import WorkQueue
from ..workqueue.result import Done, Result, Retry
from .allowance import Allowance
from .announcer import Announcer
from .conditions import failure
from .first_statuses import FirstStatuses
from .summary import summarize

# Conditions apart, the status of one object is written at most this often.
MIN_INTERVAL_SECONDS = 10.0
# Conditions are news and written at once, so many times; of an object whose conditions flap, as often as the rest.
CHANGES_AT_ONCE = 6
# A first status waits so long for the first call to its pods, which says most of what is in it.
FIRST_CALL_SECONDS = 20.0
# The API server is asked gently. First statuses leave some of these places to others, in their own namespace too.
WRITES_AT_ONCE, WRITES_OF_A_NAMESPACE = 24, 20
log = QuietLog(logging.getLogger(__name__))


class Recorder:
    """`instance` is who reports, in Events; `settle_seconds` is how long trouble lasts before it is told of."""

    def __init__(
        self,
        kube: Kube,
        fleet: Fleet,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        instance: str,
        settle_seconds: float = 60.0,
    ) -> None:
        self._kube = kube
        self._fleet = fleet
        self._clock = clock
        self._monotonic = monotonic
        self._written: dict[str, float] = {}
        self._changes = Allowance(CHANGES_AT_ONCE, MIN_INTERVAL_SECONDS, monotonic)
        self._first_seen: dict[str, float] = {}
        self._first = FirstStatuses(self._start_first)
        self.queue = WorkQueue(concurrency=WRITES_AT_ONCE, per_namespace=WRITES_OF_A_NAMESPACE, monotonic=monotonic)
        self._announcer = Announcer(
            kube, self.queue, clock=clock, monotonic=monotonic, instance=instance, settle_seconds=settle_seconds
        )

    def record(self, view: View) -> bool:
        """Starts what needs to be written; an unchanged world starts nothing, and only then it is true."""
        owner = view.owner
        now = self._clock()
        status = summarize(view, now)
        if status != owner.status and not self._too_early(view) and self._may_write(owner, status):
            if owner.status.conditions:
                self._start(owner, status)
            else:
                self._first.want(owner, status)
                self.queue.add(WriteFirstStatuses(), None, self._first.write)
        self._announcer.announce(view, status)
        return status == owner.status and not self._announcer.owes(owner.uid)

    def record_failure(self, owner: ManagedModel, reason: str, why: str) -> None:
        """It could not be looked at: of its status only `Ready` is written, the rest stays as it was last found."""
        before = owner.status.condition(READY)
        ready = failure(reason, why, owner.generation).after(before, to_rfc3339(self._clock()))
        others = tuple(each for each in owner.status.conditions if each.type != READY)
        status = replace(owner.status, conditions=(ready, *others), observed_generation=owner.generation)
        if status != owner.status and self._may_write(owner, status):
            self._start(owner, status)

    def forget_all_but(self, owner_uids: Container[str]) -> None:
        for known in (self._written, self._first_seen):
            for uid in [uid for uid in known if uid not in owner_uids]:
                del known[uid]
        self._changes.forget_all_but(owner_uids)
        self._announcer.forget_all_but(owner_uids)
        self.queue.forget_managed_models_but(owner_uids)

    def _start(self, owner: ManagedModel, status: Status) -> bool:
        return self.queue.add(WriteStatus(owner.namespace, owner.uid), status, partial(self._write, owner, status))

    def _start_first(self, owner: ManagedModel, status: Status, ended: Callable[[Result], None]) -> bool:
        async def write() -> Result:
            result: Result = Retry()
            try:
                result = await self._write(owner, status)
            finally:
                ended(result)
            return result

        known = self._fleet.managed_models.get(owner.key)
        if known is None or known.status.conditions:
            # It is gone, or its first status was written meanwhile, and the next visit sees what differs.
            return False
        return self.queue.add(WriteStatus(owner.namespace, owner.uid), status, write)

    def _too_early(self, view: View) -> bool:
        """Before a pod was asked we know little of it: less than a status that is there, and soon more than now."""
        owner = view.owner
        if all(contact.outcome is not None for _, contact in view.contacts):
            return False
        if owner.status.conditions:
            return owner.status.observed_generation == owner.generation
        now = self._monotonic()
        return now - self._first_seen.setdefault(owner.uid, now) < FIRST_CALL_SECONDS

    def _may_write(self, owner: ManagedModel, status: Status) -> bool:
        if status.conditions != owner.status.conditions:
            return self._changes.has_one(owner.uid)
        last = self._written.get(owner.uid)
        return last is None or self._monotonic() - last >= MIN_INTERVAL_SECONDS

    async def _write(self, owner: ManagedModel, status: Status) -> Result:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{owner.namespace}/{PLURAL}/{owner.name}/status"
        # The UID keeps the status of a deleted object off the one that was created in its place.
        patch = {"metadata": {"uid": owner.uid}, "status": status.to_patch()}
        try:
            answer = await self._kube.request("PATCH", path, patch, content_type=MERGE_PATCH)
        except (KubeNotFound, KubeConflict):
            return Done()
        except KubeError as error:
            # An API server that is away is one cause, however many statuses wait for it.
            log.warning(error.status, "The status of %s/%s is not written yet: %s", owner.namespace, owner.name, error)
            return Retry()
        self._first_seen.pop(owner.uid, None)
        self._written[owner.uid] = self._monotonic()
        self._changes.use(owner.uid)
        self._fleet.observe_managed_model(answer, ours=True)
        return Done()
