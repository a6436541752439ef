"""Writes what was found: the status, only when it changed, and the Events that go with it."""

import asyncio
import logging
from collections.abc import Callable, Container
from dataclasses import replace
from functools import partial

from dormouse_contract.managed_model import GROUP, PLURAL, READY, VERSION, ManagedModel, Status
from dormouse_contract.timestamps import to_rfc3339

from ..cluster.fleet import Fleet
from ..cluster.kube import MERGE_PATCH, Kube
from ..errors import KubeConflict, KubeError, KubeNotFound
from ..view import View
from ..workqueue.keys import WriteFirstStatuses, WriteStatus
from ..workqueue.queue import WorkQueue
from ..workqueue.result import Done, Result, Retry
from .announcer import Announcer
from .conditions import failure
from .summary import summarize

# Conditions apart, the status of one object is written at most this often.
MIN_INTERVAL_SECONDS = 10.0
# So many ManagedModels get their first status in a second: a large fleet that is new to us would otherwise be
# thousands of writes at once, in front of everybody else's.
FIRST_VISITS_PER_SECOND = 50.0
log = logging.getLogger(__name__)


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
        self._first_visits: dict[str, tuple[ManagedModel, Status]] = {}
        # The API server is asked gently: a first visit to a large fleet is many writes at once.
        self.queue = WorkQueue(concurrency=8, per_namespace=4, monotonic=monotonic)
        self._announcer = Announcer(
            kube, self.queue, clock=clock, monotonic=monotonic, instance=instance, settle_seconds=settle_seconds
        )

    def record(self, view: View) -> bool:
        """Starts what needs to be written; an unchanged world starts nothing, and only then it is true."""
        owner = view.owner
        now = self._clock()
        status = summarize(view, now)
        if status != owner.status and not _too_early(view) and self._may_write(owner, status):
            if owner.status.conditions:
                self._start(owner, status)
            else:
                self._first_visits[owner.uid] = (owner, status)
                self.queue.add(WriteFirstStatuses(), None, self._write_first)
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
        for uid in [uid for uid in self._written if uid not in owner_uids]:
            del self._written[uid]
        self._announcer.forget_all_but(owner_uids)
        self.queue.forget_managed_models_but(owner_uids)

    async def _write_first(self) -> Result:
        """One after the other, and each as it was last seen: with a long queue, better news may have come."""
        while self._first_visits:
            owner, status = self._first_visits.pop(next(iter(self._first_visits)))
            # What is still being written was seen again meanwhile; that it differs will be seen at the next look.
            if self._start(owner, status):
                await asyncio.sleep(1 / FIRST_VISITS_PER_SECOND)
        return Done()

    def _start(self, owner: ManagedModel, status: Status) -> bool:
        return self.queue.add(WriteStatus(owner.namespace, owner.uid), status, partial(self._write, owner, status))

    def _may_write(self, owner: ManagedModel, status: Status) -> bool:
        if status.conditions != owner.status.conditions:
            return True
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
            log.warning("The status of %s/%s is not written yet: %s", owner.namespace, owner.name, error)
            return Retry()
        self._written[owner.uid] = self._monotonic()
        if owner.key in self._fleet.managed_models:
            self._fleet.observe_managed_model(answer)
        return Done()


def _too_early(view: View) -> bool:
    """Before a pod was asked, an operator that has just started knows less than the status that it found."""
    known = view.owner.status.observed_generation == view.owner.generation
    return known and any(contact.outcome is None for _, contact in view.contacts)
