"""One watch and its life: begun when the API server lists the collection, ended and begun anew when it died.

kopf goes on by itself through cuts and restarts of the API server. It ends at what it takes for final: the kind is
not there (its CRD was deleted), the right to watch it was taken away. And it can't know that a connection that looks
open shows nothing any more. So each watch is judged by its last sign of life, and a dead one is begun anew.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Protocol

from dormouse_contract.printable import printable

from ..errors import KubeError, KubeNotFound
from .census import Census
from .collection import Collection

# An open watch is asked for anew this often, so that it can be seen to live; it goes on where it was.
RENEWAL_SECONDS = 20
# After so long without a sign of life the API server is asked whether it would show the collection.
SILENT_SECONDS = 2.0 * RENEWAL_SECONDS
# When it does for so long, and the watch shows nothing, the watch is dead.
DEAD_SECONDS = 10.0
# How often it is asked meanwhile.
LOOK_SECONDS = 3.0
# Events of a list are handled in the background: it is through when there were none for so long.
QUIET_SECONDS = 0.3
LOG_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 1.0
PAUSE_SECONDS = 20.0
MOST_WORDS = 300
log = logging.getLogger(__name__)


class Signs(Protocol):
    """What the one who watches tells."""

    def alive(self) -> None:
        """The API server shows the collection at this moment."""

    def listed(self) -> None:
        """An object came from a list."""

    def opened(self) -> None:
        """A list was read to its end, and a watch goes on from there."""


class Watch:
    """`show` watches until it is cancelled or raises; `gone` is called when the collection's kind is not there.

    synced: its first list is through. refused: the API server says no, rather than nothing. problem: why it shows
    nothing at the moment, empty while it lives. last_alive: in Unix seconds, 0 for never.
    """

    def __init__(
        self,
        collection: Collection,
        census: Census,
        show: Callable[[Signs], Coroutine[None, None, None]],
        gone: Callable[[], None],
        *,
        after: "Watch | None" = None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`after`: begins when that one is synced, so that no ManagedModel is known before its pods."""
        self.collection = collection
        self.synced = asyncio.Event()
        self.refused = False
        self.problem = ""
        self.last_alive = 0.0
        self._census = census
        self._show = show
        self._gone = gone
        self._after = after
        self._clock = clock
        self._monotonic = monotonic
        self._accounted_at: float | None = None
        self._alive_at = float("-inf")
        self._listed_at = float("-inf")
        self._is_open = False
        self._said_at = float("-inf")

    def unaccounted_seconds(self) -> float:
        """For how long it has shown no life though the API server gave no reason: then only we can be to blame."""
        return 0.0 if self._accounted_at is None else self._monotonic() - self._accounted_at

    def alive(self) -> None:
        self._alive_at = self._accounted_at = self._monotonic()
        self.last_alive = self._clock()

    def listed(self) -> None:
        self._listed_at = self._monotonic()

    def opened(self) -> None:
        self._is_open = True

    async def run(self) -> None:
        """Until cancelled."""
        self._accounted_at = self._monotonic()
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = self._monotonic()
            try:
                if await self._until_it_is_listed():
                    pause = FIRST_PAUSE_SECONDS
                await self._live()
            except Exception as error:
                self._say(f"the watch ended: {_words(error)}")
            # Each life reads the whole list, so one that ends at once for no reason begins less and less often.
            pause = FIRST_PAUSE_SECONDS if self._monotonic() - began >= LOG_SECONDS else min(2 * pause, PAUSE_SECONDS)
            # Jitter, as many watches may die of the same.
            await asyncio.sleep(pause * (0.5 + 0.5 * random.random()))  # noqa: S311 - no secret

    async def _until_it_is_listed(self) -> bool:
        """Whether anything was in the way."""
        absent, waited = 0, False
        while True:
            if self._after is not None and not self._after.synced.is_set():
                self._accounted_at = self._monotonic()
                self.refused = self._after.refused
            else:
                error = await self._look()
                if error is None:
                    return waited
                self.refused = not error.retryable
                absent = absent + 1 if isinstance(error, KubeNotFound) else 0
                if absent == 2:
                    # Once may be an API server that has just started.
                    self._gone()
            waited = True
            await asyncio.sleep(LOOK_SECONDS)

    async def _live(self) -> None:
        """Until the watch is dead. Raises what it ended with."""
        # It has as long for its first sign as for every other one.
        self._is_open, self._alive_at = False, self._monotonic()
        life = asyncio.create_task(self._show(self))
        try:
            answered_at: float | None = None
            while not life.done():
                await asyncio.wait([life], timeout=QUIET_SECONDS if not self.synced.is_set() else LOOK_SECONDS)
                now = self._monotonic()
                if now - self._alive_at < SILENT_SECONDS:
                    answered_at = None
                    if self._is_open and now - self._listed_at >= QUIET_SECONDS:
                        self._lives()
                elif await self._look() is not None:
                    answered_at = None
                elif answered_at is None:
                    answered_at = now
                elif now - answered_at >= DEAD_SECONDS:
                    self._say("the watch showed no sign of life")
                    return
            if not life.cancelled():
                life.result()
            self._say("the watch ended without a reason")
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)

    def _lives(self) -> None:
        self.synced.set()
        self.refused = False
        if self.problem:
            log.info("The watch of %s lives again.", self.collection)
        self.problem = ""

    async def _look(self) -> KubeError | None:
        """Whether the API server shows the collection; an error explains why the watch can't."""
        try:
            await self._census.look(self.collection)
        except KubeError as error:
            self._explain(str(error))
            return error
        return None

    def _explain(self, problem: str) -> None:
        self._accounted_at = self._monotonic()
        self._say(problem)

    def _say(self, problem: str) -> None:
        self.problem = problem
        if self._monotonic() - self._said_at >= LOG_SECONDS:
            self._said_at = self._monotonic()
            log.warning(
                "The %s are not watched: %s. Models stay as they are and wake on demand; it is tried again.",
                self.collection,
                problem,
            )


def _words(error: BaseException) -> str:
    """The API server's own words are the first argument of kopf's errors; what follows is the whole answer."""
    said = error.args[0] if error.args else ""
    return printable(" ".join(f"{type(error).__name__}: {said}".split()), MOST_WORDS)
