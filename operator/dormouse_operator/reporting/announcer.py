"""Decides which Events are worth telling, so that they stay readable.

A model with keep-alive 0 moves twice for each request: the same kind of move of the same replica is one Event with
a count (a series), written on once a minute at most. Trouble is told when it has lasted, since everything is in
trouble for a moment while it starts. What is lost with a restart is a count.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from dormouse_contract import Action, Residency
from dormouse_contract.managed_model import ManagedModel, Status
from dormouse_contract.timestamps import from_rfc3339_or_none

from ..cluster.kube import Kube
from ..view import ReplicaView, View
from ..workqueue.keys import WriteEvent
from ..workqueue.queue import WorkQueue
from ..workqueue.result import Done, Result
from .allowance import Allowance
from .events import condition_event, post, tell_more, transition_event, troubles, wish_event

# A move of the same kind within this time continues the series; Kubernetes' own recorders take six minutes.
SERIES_SECONDS = 600.0
SERIES_WRITTEN_EVERY_SECONDS = 60.0
# Of one ManagedModel; Kubernetes' own recorders let 25 through and then one in five minutes.
EVENTS_AT_ONCE = 25
EVENT_EVERY_SECONDS = 10.0
_Key = tuple[str, str, str]
"""UID of the owner, UID of the pod, model."""


@dataclass(slots=True)
class _Series:
    """One Event. `last` on the clock, `written_at` on the monotonic one."""

    name: str
    last: float
    written_at: float
    count: int = 1
    written: int = 1


@dataclass(slots=True)
class _Trouble:
    since: float
    told: bool = False


class Announcer:
    """`announce` starts what there is to tell; an unchanged world starts nothing."""

    def __init__(
        self,
        kube: Kube,
        queue: WorkQueue,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        instance: str,
        settle_seconds: float,
    ) -> None:
        self._kube = kube
        self._queue = queue
        self._clock = clock
        self._monotonic = monotonic
        self._instance = instance
        self._settle_seconds = settle_seconds
        self._new = Allowance(EVENTS_AT_ONCE, EVENT_EVERY_SECONDS, monotonic)
        self._announced: dict[_Key, float] = {}
        self._wished: dict[_Key, Residency] = {}
        self._series: dict[str, dict[tuple[str, ...], _Series]] = {}
        self._troubles: dict[str, dict[str, _Trouble]] = {}

    def announce(self, view: View, status: Status) -> None:
        owner = view.owner
        for replica in view.replicas:
            self._moved(owner, replica)
            self._wish(owner, replica)
        for what, series in self._series.get(owner.uid, {}).items():
            self._write_on(owner, what, series)
        self._trouble(owner, status)

    def owes(self, owner_uid: str) -> bool:
        """Whether there may be something to tell though nothing happens: trouble that lasts, a count."""
        troubles, series = self._troubles.get(owner_uid, {}), self._series.get(owner_uid, {})
        return not all(each.told for each in troubles.values()) or any(
            each.count > each.written for each in series.values()
        )

    def forget_all_but(self, owner_uids: Container[str]) -> None:
        self._new.forget_all_but(owner_uids)
        for known in (self._series, self._troubles):
            for uid in [uid for uid in known if uid not in owner_uids]:
                known.pop(uid)
        for remembered in (self._announced, self._wished):
            for key in [key for key in remembered if key[0] not in owner_uids]:
                remembered.pop(key)

    def _moved(self, owner: ManagedModel, replica: ReplicaView) -> None:
        pod, model, moved = replica.pod, replica.model, replica.memory.last_transition
        if moved is None:
            return
        key = (owner.uid, pod.uid, model)
        told = self._announced.get(key)
        if told is None:
            # What was before the object was is not its story; what the status has, was told by whoever wrote it.
            last = owner.status.last_transition
            told = max(owner.created, 0.0 if last is None else last.unix_seconds or 0.0)
        if moved.time <= told + 1e-3:
            self._announced[key] = told
            return
        event = transition_event(owner, pod, model, moved, self._clock(), self._instance)
        # Words that are not known are one kind, so that a pod can't make us remember each that it invents.
        kind = [word if isinstance(word, StrEnum) else "" for word in (moved.from_, moved.trigger)]
        if self._tell(owner, (pod.uid, model, event["reason"], *kind), event):
            self._announced[key] = moved.time

    def _wish(self, owner: ManagedModel, replica: ReplicaView) -> None:
        key = (owner.uid, replica.pod.uid, replica.model)
        desired = replica.decision.desired if replica.decision.action is Action.WOULD_ORDER else None
        if desired is None:
            self._wished.pop(key, None)
        elif self._wished.get(key) is not desired:
            event = wish_event(owner, replica, self._clock(), self._instance)
            if self._tell(owner, (replica.pod.uid, replica.model, event["reason"], desired), event):
                self._wished[key] = desired

    def _tell(self, owner: ManagedModel, what: tuple[str, ...], event: dict[str, Any]) -> bool:
        """False when the last one of its kind is still being told: then it is for the next pass."""
        known, now = self._series.setdefault(owner.uid, {}), self._clock()
        series = known.get(what)
        if series is not None and now - series.last < SERIES_SECONDS:
            series.count += 1
            series.last = now
            return True
        if not self._new.has_one(owner.uid):
            # There is more than anybody reads; status and metrics have it all.
            return True
        if not self._queue.add(_key(owner, *what), event["metadata"]["name"], partial(self._post, event)):
            return False
        self._new.use(owner.uid)
        known[what] = _Series(event["metadata"]["name"], now, self._monotonic())
        return True

    def _write_on(self, owner: ManagedModel, what: tuple[str, ...], series: _Series) -> None:
        due = self._monotonic() - series.written_at >= SERIES_WRITTEN_EVERY_SECONDS
        if due and series.count > series.written:
            subject = (series.name, series.count)
            self._queue.add(_key(owner, *what), subject, partial(self._continue, owner, what, series))

    def _trouble(self, owner: ManagedModel, status: Status) -> None:
        bad, now = troubles(status), self._monotonic()
        first_sight = owner.uid not in self._troubles
        known = self._troubles.setdefault(owner.uid, {})
        for reason in known.keys() - bad.keys():
            del known[reason]
        for reason, condition in bad.items():
            trouble = known.setdefault(reason, _Trouble(now))
            if first_sight and reason in troubles(owner.status):
                # Of before our time: whoever was here then has told it, if it had lasted.
                since = from_rfc3339_or_none(condition.last_transition_time) or 0.0
                trouble.told = self._clock() - since > self._settle_seconds
            if not trouble.told and now - trouble.since >= self._settle_seconds:
                event = condition_event(owner, condition, self._clock(), self._instance)
                name = event["metadata"]["name"]
                trouble.told = self._queue.add(_key(owner, reason), name, partial(self._post, event))

    async def _post(self, event: dict[str, Any]) -> Result:
        await post(self._kube, event)
        return Done()

    async def _continue(self, owner: ManagedModel, what: tuple[str, ...], series: _Series) -> Result:
        count, series.written_at = series.count, self._monotonic()
        if await tell_more(self._kube, owner.namespace, series.name, count, series.last):
            series.written = count
        else:
            self._series.get(owner.uid, {}).pop(what, None)
        return Done()


def _key(owner: ManagedModel, *what: str) -> WriteEvent:
    return WriteEvent(owner.namespace, owner.uid, what)
