"""Calls to replicas, side by side: bounded in number, one at a time for each, later again after a failure.

A pod that is slow or dead takes one of the places for the length of its time limit and then waits longer
and longer for the next try, so it delays nobody else.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """`due` on the monotonic clock; `failures` in a row."""

    subject: Hashable = None
    due: float = 0.0
    failures: int = 0
    task: asyncio.Task[None] | None = None


class Errands:
    """`subject` is what the errand is about: a new one does not wait for the back-off of the old one."""

    def __init__(
        self,
        *,
        concurrency: int = 32,
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._places: dict[Hashable, _Place] = {}
        self._room = asyncio.Semaphore(concurrency)
        self._monotonic = monotonic
        self._jitter = jitter
        self._stopped = False

    def start(
        self, key: Hashable, subject: Hashable, errand: Callable[[], Coroutine[None, None, float | None]]
    ) -> bool:
        """Runs it in the background unless one for `key` is under way or it is not time yet.

        `errand` returns for how many seconds there is no need for the same again, None when it failed.
        """
        place = self._places.setdefault(key, _Place())
        if self._stopped or place.task is not None:
            return False
        if place.subject == subject and self._monotonic() < place.due:
            return False
        if place.subject != subject:
            place.subject, place.failures = subject, 0
        place.task = asyncio.create_task(self._run(place, errand))
        return True

    def settle(self, key: Hashable) -> None:
        """What the errand was for is achieved or no longer wanted: the next one need not wait."""
        place = self._places.get(key)
        if place is not None and place.task is None:
            place.subject = None

    def free_in(self, key: Hashable) -> float | None:
        """Seconds until the same errand may run again; None while it runs, or when it never did."""
        place = self._places.get(key)
        if place is None or place.task is not None:
            return None
        return place.due - self._monotonic()

    def forget(self, gone: Callable[[Hashable], bool]) -> None:
        """Drops what is remembered of keys that are `gone`; what is under way ends by itself."""
        for key in [key for key, place in self._places.items() if place.task is None and gone(key)]:
            del self._places[key]

    async def stop(self, within_seconds: float) -> None:
        """The end: nothing begins any more, what only waits for its turn included; what runs may finish."""
        self._stopped = True
        await self.finish(within_seconds)

    async def finish(self, within_seconds: float) -> None:
        """Waits for what is under way, then cancels it. Every errand may be cut off at any point."""
        tasks = [place.task for place in self._places.values() if place.task is not None]
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=within_seconds)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _run(self, place: _Place, errand: Callable[[], Coroutine[None, None, float | None]]) -> None:
        rest: float | None = None
        try:
            async with self._room:
                rest = 0.0 if self._stopped else await errand()
        except Exception:
            log.exception("A call to a replica failed in an unforeseen way; it is tried again later.")
        finally:
            place.task = None
            place.failures = 0 if rest is not None else place.failures + 1
            place.due = self._monotonic() + (self._back_off(place.failures) if rest is None else rest)

    def _back_off(self, failures: int) -> float:
        longest: float = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        return longest * (0.5 + 0.5 * self._jitter())
