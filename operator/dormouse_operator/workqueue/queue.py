"""Work that runs beside the loop: bounded in number, one at a time per key, later and later after a failure.

A pod that is slow or dead has two places at most, for the length of its time limit, and then waits longer and longer
for the next try; who waits for a place is served fairly (`places.py`). So it delays nobody else.

Unlike client-go's, this queue runs nothing again by itself. The loop is level-based: at each visit it adds what is
needed then, `add` refuses what waits, runs or is not due, and `due_in` tells the loop when to come back.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Container, Coroutine, Hashable, Mapping
from dataclasses import dataclass

from ..quiet_log import QuietLog
from .keys import Key, ManagedModelKey, NamespaceKey, PodKey
from .places import Places
from .result import Done, RequeueAfter, Result, Retry, Unanswered

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0
CALLS_PER_OBJECT = 2
Work = Callable[[], Coroutine[None, None, Result]]
log = QuietLog(logging.getLogger(__name__))


@dataclass(slots=True)
class _Entry:
    """What is remembered of a key. `due` is on the monotonic clock; `failures` are those in a row.

    work: what waits for a place. task: what runs.
    """

    subject: Hashable = None
    due: float = 0.0
    failures: int = 0
    work: Work | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        return self.work is not None or self.task is not None


@dataclass(slots=True)
class _Silence:
    """An object that did not answer: nothing is asked of it before `due`."""

    due: float = 0.0
    failures: int = 0


class WorkQueue:
    """At most `concurrency` pieces of work run at once, `per_namespace` of them for one; others wait for a place."""

    def __init__(
        self,
        *,
        concurrency: int = 64,
        per_namespace: int = 16,
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._silent: dict[str, _Silence] = {}
        self._places = Places(concurrency, per_namespace, CALLS_PER_OBJECT)
        self._monotonic = monotonic
        self._jitter = jitter
        self._is_shut_down = False

    def add(self, key: Key, subject: Hashable, work: Work) -> bool:
        """Runs `work` in the background. False, and nothing runs, while work for `key` is under way or not due.

        `subject` is what the work is about: a new one does not wait for the back-off of the old one, only for that of
        an object that does not answer at all.
        """
        entry = self._entries.setdefault(key, _Entry())
        now = self._monotonic()
        if self._is_shut_down or entry.is_under_way or now < self._object_due(key):
            return False
        if entry.subject == subject and now < entry.due:
            return False
        if entry.subject != subject:
            entry.subject, entry.failures = subject, 0
        entry.work = work
        self._places.wait(key, now)
        self._start()
        return True

    def forget(self, key: Key) -> None:
        """The work is achieved or no longer wanted, so the next one for `key` need not wait. What runs goes on."""
        entry = self._entries.get(key)
        if entry is None or entry.task is not None:
            return
        entry.subject = None
        if entry.work is not None:
            entry.work = None
            self._places.leave(key)

    def due_in(self, key: Key) -> float | None:
        """Seconds until the same work is taken again; None while it is under way, or when it never was."""
        entry = self._entries.get(key)
        if entry is None or entry.is_under_way:
            return None
        return max(entry.due, self._object_due(key)) - self._monotonic()

    def waiting_seconds(self) -> Mapping[str, float]:
        """How long the oldest work waits for a place, by namespace; those of whom nothing waits are left out."""
        now = self._monotonic()
        return {namespace: now - since for namespace, since in self._places.waiting_since()}

    def forget_pods_but(self, uids: Container[str]) -> None:
        """Drops what is remembered of the work of all other pods; what is under way ends by itself."""
        self._drop(lambda key: isinstance(key, PodKey) and key.pod_uid not in uids)
        self._silent = {uid: silence for uid, silence in self._silent.items() if uid in uids}

    def forget_managed_models_but(self, uids: Container[str]) -> None:
        """Drops what is remembered of the work of all other ManagedModels; what is under way ends by itself."""
        self._drop(lambda key: isinstance(key, ManagedModelKey) and key.owner_uid not in uids)

    def forget_namespaces_but(self, namespaces: Container[str]) -> None:
        """Drops what is remembered of the work of all other namespaces; what is under way ends by itself."""
        self._drop(lambda key: isinstance(key, NamespaceKey) and key.namespace not in namespaces)

    async def shut_down(self, within_seconds: float) -> None:
        """The end: nothing begins any more, what only waits for its place included; what runs may finish."""
        self._is_shut_down = True
        for key, entry in self._entries.items():
            if entry.work is not None:
                entry.work = None
                self._places.leave(key)
        await self.drain(within_seconds)

    async def drain(self, within_seconds: float) -> None:
        """Waits for what is under way, then cancels it. All work may be cut off at any point."""
        deadline = self._monotonic() + within_seconds
        while running := self._running():
            left = deadline - self._monotonic()
            done, _ = await asyncio.wait(running, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _running(self) -> list[asyncio.Task[None]]:
        return [entry.task for entry in self._entries.values() if entry.task is not None]

    def _drop(self, gone: Callable[[Key], bool]) -> None:
        for key in [key for key, entry in self._entries.items() if not entry.is_under_way and gone(key)]:
            del self._entries[key]

    def _start(self) -> None:
        while not self._is_shut_down and (key := self._places.take()) is not None:
            entry = self._entries[key]
            assert entry.work is not None  # noqa: S101 - what waits has its work
            work, entry.work = entry.work, None
            entry.task = asyncio.create_task(self._run(key, entry, work))

    async def _run(self, key: Key, entry: _Entry, work: Work) -> None:
        result: Result = Retry()
        try:
            result = await work()
        except Exception as error:
            log.exception(
                (type(error).__name__, key.namespace), "Work failed in an unforeseen way; it is retried later. %s", key
            )
        finally:
            entry.task = None
            entry.failures = entry.failures + 1 if isinstance(result, Retry) else 0
            entry.due = self._monotonic() + self._pause(result, entry.failures)
            self._heard(key, not isinstance(result, Unanswered))
            self._places.give_back(key)
            self._start()

    def _heard(self, key: Key, answered: bool) -> None:
        if answered:
            self._silent.pop(key.object_uid, None)
            return
        silence = self._silent.setdefault(key.object_uid, _Silence())
        now = self._monotonic()
        # Two calls that were under way together are one silence.
        if now >= silence.due:
            silence.failures += 1
            silence.due = now + self._back_off(silence.failures)
        for each in self._places.leave_all(key):
            self._entries[each].work = None

    def _object_due(self, key: Key) -> float:
        silence = self._silent.get(key.object_uid)
        return 0.0 if silence is None else silence.due

    def _pause(self, result: Result, failures: int) -> float:
        match result:
            case Done() | Unanswered():
                return 0.0
            case RequeueAfter(seconds):
                return seconds
            case Retry():
                return self._back_off(failures)

    def _back_off(self, failures: int) -> float:
        longest: float = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        return longest * (0.5 + 0.5 * self._jitter())
