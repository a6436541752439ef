"""Forgets what was deleted while the watches were cut off.

After a long cut the API server no longer knows what happened meanwhile (410 Gone). kopf then lists anew and
tells of everything that is there; of what is gone it tells nothing, so it would be managed for ever. A list
that is fresh settles it: what was known before it was asked for and is not in it, is gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from ..errors import KubeError
from .census import Census
from .fleet import Fleet

# Two requests of one object each, as long as the numbers agree.
INTERVAL_SECONDS = 600.0
# kopf reads its list in pieces: wait until it is through.
QUIET_SECONDS = 10.0
log = logging.getLogger(__name__)


class Resync:
    """`listed` is called for each object that comes from a list and not from a watch."""

    def __init__(
        self, fleet: Fleet, census: Census, interval_seconds: float = INTERVAL_SECONDS, quiet: float = QUIET_SECONDS
    ) -> None:
        self._fleet = fleet
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
            try:
                await self.prune()
            except KubeError as error:
                log.warning("Whether something was deleted unseen is asked again later: %s", error)

    async def prune(self) -> None:
        """One look. Raises KubeError, and then nothing was forgotten."""
        managed_models = {each.uid: each for each in self._fleet.managed_models.values()}
        pods = {each.uid: each for each in self._fleet.pods.values()}
        gone_models = await _gone(managed_models, self._census.count_managed_models, self._census.managed_model_uids)
        gone_pods = await _gone(pods, self._census.count_pods, self._census.pod_uids)
        for uid in gone_models:
            model = self._fleet.managed_models.get(managed_models[uid].key)
            if model is not None and model.uid == uid:
                self._fleet.forget_managed_model(model)
        for uid in gone_pods:
            pod = self._fleet.pods.get(pods[uid].key)
            if pod is not None and pod.uid == uid:
                self._fleet.forget_pod(pod)
        if gone_models or gone_pods:
            log.info("%d ManagedModels and %d pods were deleted unseen.", len(gone_models), len(gone_pods))

    async def _listed_or_time(self) -> None:
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._listed.wait()
        except TimeoutError:
            return
        while self._listed.is_set():
            self._listed.clear()
            await asyncio.sleep(self._quiet_seconds)


async def _gone(
    known: Collection[str], count: Callable[[], Awaitable[int]], uids: Callable[[], Awaitable[set[str]]]
) -> set[str]:
    if not known or await count() >= len(known):
        return set()
    return set(known) - await uids()
