"""Forgets what was deleted while the watches were cut off.

After a long cut the API server no longer knows what happened meanwhile (410 Gone). kopf then lists anew and
tells of everything that is there; of what is gone it tells nothing, so it would be managed for ever. A list
that is fresh settles it: what was known before it was asked for and is not in it, is gone.
"""

import asyncio
import logging
from collections.abc import Sequence

from ..errors import KubeError
from .census import Census
from .mirror import Mirror

# A request of one object for each collection, as long as the numbers agree.
INTERVAL_SECONDS = 600.0
# kopf reads its list in pieces: wait until it is through.
QUIET_SECONDS = 10.0
log = logging.getLogger(__name__)


class Resync:
    """`listed` is called for each object that comes from a list and not from a watch."""

    def __init__(
        self,
        mirrors: Sequence[Mirror],
        census: Census,
        interval_seconds: float = INTERVAL_SECONDS,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._mirrors = mirrors
        self._census = census
        self._interval_seconds = interval_seconds
        self._quiet_seconds = quiet
        self._listed = asyncio.Event()

    def listed(self) -> None:
        self._listed.set()

    async def run(self) -> None:
        """Until cancelled: now and then, and soon after kopf has listed anew."""
        self._listed.clear()
        while True:
            await self._listed_or_time()
            # Side by side: a namespace that refuses or hangs is asked again later, and keeps no other waiting.
            async with asyncio.TaskGroup() as side_by_side:
                for mirror in self._mirrors:
                    side_by_side.create_task(self._prune_or_say(mirror))

    async def prune(self, mirror: Mirror) -> None:
        """One look. Raises KubeError, and then nothing was forgotten."""
        known = mirror.uids()
        if not known or await self._census.count(mirror.collection) >= len(known):
            return
        gone = mirror.forget(known - await self._census.uids(mirror.collection))
        if gone:
            log.info("%d %s were deleted unseen.", gone, mirror.collection)

    async def _prune_or_say(self, mirror: Mirror) -> None:
        try:
            await self.prune(mirror)
        except KubeError as error:
            # Why is said by the watch.
            log.debug("Whether some of the %s were deleted unseen is asked again later: %s", mirror.collection, error)

    async def _listed_or_time(self) -> None:
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._listed.wait()
        except TimeoutError:
            return
        while self._listed.is_set():
            self._listed.clear()
            await asyncio.sleep(self._quiet_seconds)
