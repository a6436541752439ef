"""Waits until the watches have shown the world as it was at the start, before anything is judged.

Acting on half a list would tell users of missing replicas that are there. kopf doesn't say when its first
list is through; so the API server is asked how many objects there are, which costs one object each.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..errors import KubeError
from .census import Census
from .fleet import Fleet

# Objects may vanish while we count: when the watches have been quiet for so long, that was all.
QUIET_SECONDS = 3.0
log = logging.getLogger(__name__)


async def wait_for_initial_sync(census: Census, fleet: Fleet) -> None:
    managed_models = await _patiently(census.count_managed_models)
    pods = await _patiently(census.count_pods)
    while len(fleet.managed_models) < managed_models or len(fleet.pods) < pods:
        fleet.changed.clear()
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await fleet.changed.wait()
        except TimeoutError:
            # Before the first event the watches may just be slow to start.
            if fleet.managed_models or fleet.pods:
                break
    log.info("Watching %d ManagedModels and %d pods", len(fleet.managed_models), len(fleet.pods))


async def _patiently(count: Callable[[], Awaitable[int]]) -> int:
    while True:
        try:
            return await count()
        except KubeError as error:
            log.warning("Waiting for the API server to say how much there is to watch: %s", error)
            await asyncio.sleep(2)
