"""The first statuses of a fleet that is new to us: written soon, and never in front of everybody else's.

A large fleet that is new is thousands of writes at once. They are given to the queue a few at a time, so that a place
is left for whoever has news. The namespaces take turns, so a new one of thousands does not delay that of another. An
API server that is slow is asked less by that alone, and one that refuses gets a rest.
"""

import asyncio
from collections.abc import Callable

from dormouse_contract.managed_model import ManagedModel, Status

from ..workqueue.result import Done, Result, Retry

AT_ONCE = 16
PER_SECOND = 200.0
FIRST_REST_SECONDS, LAST_REST_SECONDS = 1.0, 30.0
Start = Callable[[ManagedModel, Status, Callable[[Result], None]], bool]


class FirstStatuses:
    """`start` begins one write in the background and has its result passed on; false when there is nothing to write."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._waiting: dict[str, dict[str, tuple[ManagedModel, Status]]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._rest_seconds = 0.0
        self._refused = False

    def want(self, owner: ManagedModel, status: Status) -> None:
        """In the place of what was wanted for it before."""
        self._waiting.setdefault(owner.namespace, {})[owner.uid] = (owner, status)

    async def write(self) -> Result:
        """Each as it was last wanted, until none is left."""
        while self._waiting:
            await self._places.acquire()
            if self._refused:
                await self._rest()
            if self._start(*self._next(), self._ended):
                await asyncio.sleep(1 / PER_SECOND)
            else:
                self._places.release()
        return Done()

    def _next(self) -> tuple[ManagedModel, Status]:
        namespace = next(iter(self._waiting))
        waiting = self._waiting.pop(namespace)
        first = waiting.pop(next(iter(waiting)))
        if waiting:
            # Behind all others.
            self._waiting[namespace] = waiting
        return first

    async def _rest(self) -> None:
        """Longer and longer. What was under way by then may still be refused, which says nothing new."""
        self._rest_seconds = min(LAST_REST_SECONDS, max(FIRST_REST_SECONDS, 2 * self._rest_seconds))
        await asyncio.sleep(self._rest_seconds)
        self._refused = False

    def _ended(self, result: Result) -> None:
        self._places.release()
        if isinstance(result, Retry):
            self._refused = True
        elif not self._refused:
            self._rest_seconds = 0.0
