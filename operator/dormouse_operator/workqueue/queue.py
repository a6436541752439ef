"""Work that runs beside the loop: bounded in number, one at a time per key, later and later after a failure.

A pod that is slow or dead takes one of the places for the length of its time limit and then waits longer
and longer for the next try, so it delays nobody else.

Unlike client-go's, this queue runs nothing again by itself. The loop is level-based: at each visit it adds what is
needed then, `add` refuses what runs or is not due, and `due_in` tells the loop when to come back.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Container, Coroutine, Hashable
from dataclasses import dataclass

from .keys import Key, ManagedModelKey, NamespaceKey, PodKey
from .result import Done, RequeueAfter, Result, Retry

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0
Work = Callable[[], Coroutine[None, None, Result]]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """What is remembered of a key. `due` is on the monotonic clock; `failures` are those in a row."""

    subject: Hashable = None
    due: float = 0.0
    failures: int = 0
    task: asyncio.Task[None] | None = None


class WorkQueue:
    """At most `concurrency` pieces of work run at once; the others wait in the order in which they were added."""

    def __init__(
        self,
        *,
        concurrency: int = 32,
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._places = asyncio.Semaphore(concurrency)
        self._monotonic = monotonic
        self._jitter = jitter
        self._is_shut_down = False

    def add(self, key: Key, subject: Hashable, work: Work) -> bool:
        """Runs `work` in the background. False, and nothing runs, while work for `key` is under way or not due.

        `subject` is what the work is about: a new one does not wait for the back-off of the old one.
        """
        entry = self._entries.setdefault(key, _Entry())
        if self._is_shut_down or entry.task is not None:
            return False
        if entry.subject == subject and self._monotonic() < entry.due:
            return False
        if entry.subject != subject:
            entry.subject, entry.failures = subject, 0
        entry.task = asyncio.create_task(self._run(key, entry, work))
        return True

    def forget(self, key: Key) -> None:
        """The work is achieved or no longer wanted, so the next one for `key` need not wait. What runs goes on."""
        entry = self._entries.get(key)
        if entry is not None and entry.task is None:
            entry.subject = None

    def due_in(self, key: Key) -> float | None:
        """Seconds until the same work is taken again; None while it runs, or when it never did."""
        entry = self._entries.get(key)
        if entry is None or entry.task is not None:
            return None
        return entry.due - self._monotonic()

    def forget_pods_but(self, uids: Container[str]) -> None:
        """Drops what is remembered of the work of all other pods; what is under way ends by itself."""
        self._drop(lambda key: isinstance(key, PodKey) and key.pod_uid not in uids)

    def forget_managed_models_but(self, uids: Container[str]) -> None:
        """Drops what is remembered of the work of all other ManagedModels; what is under way ends by itself."""
        self._drop(lambda key: isinstance(key, ManagedModelKey) and key.owner_uid not in uids)

    def forget_namespaces_but(self, namespaces: Container[str]) -> None:
        """Drops what is remembered of the work of all other namespaces; what is under way ends by itself."""
        self._drop(lambda key: isinstance(key, NamespaceKey) and key.namespace not in namespaces)

    async def shut_down(self, within_seconds: float) -> None:
        """The end: nothing begins any more, what only waits for its place included; what runs may finish."""
        self._is_shut_down = True
        await self.drain(within_seconds)

    async def drain(self, within_seconds: float) -> None:
        """Waits for what is under way, then cancels it. All work may be cut off at any point."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=within_seconds)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _drop(self, gone: Callable[[Key], bool]) -> None:
        for key in [key for key, entry in self._entries.items() if entry.task is None and gone(key)]:
            del self._entries[key]

    async def _run(self, key: Key, entry: _Entry, work: Work) -> None:
        result: Result = Retry()
        try:
            async with self._places:
                result = Done() if self._is_shut_down else await work()
        except Exception:
            log.exception("Work failed in an unforeseen way; it is retried later. %s", key)
        finally:
            entry.task = None
            entry.failures = entry.failures + 1 if isinstance(result, Retry) else 0
            entry.due = self._monotonic() + self._pause(result, entry.failures)

    def _pause(self, result: Result, failures: int) -> float:
        match result:
            case Done():
                return 0.0
            case RequeueAfter(seconds):
                return seconds
            case Retry():
                return self._back_off(failures)

    def _back_off(self, failures: int) -> float:
        longest: float = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        return longest * (0.5 + 0.5 * self._jitter())
