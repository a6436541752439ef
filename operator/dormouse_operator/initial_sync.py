"""Waits until the watches have shown the world as it was at the start, before anything is judged.

Acting on half a list would tell users of missing replicas that are there. kopf doesn't say when its first
list is through; so the API server is asked how many objects there are, which costs one object each.
"""

import asyncio
import logging
from collections.abc import Sequence

from .errors import KubeError
from .fleet import Fleet
from .kube import Kube
from .resources import GROUP, PLURAL, VERSION

# Objects may vanish while we count: when the watches have been quiet for so long, that was all.
QUIET_SECONDS = 3.0
log = logging.getLogger(__name__)


async def wait_for_initial_sync(kube: Kube, fleet: Fleet, namespaces: Sequence[str]) -> None:
    managed_models = await _count(kube, f"/apis/{GROUP}/{VERSION}", PLURAL, namespaces)
    pods = await _count(kube, "/api/v1", "pods", namespaces)
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


async def _count(kube: Kube, prefix: str, plural: str, namespaces: Sequence[str]) -> int:
    paths = [f"{prefix}/namespaces/{name}/{plural}" for name in namespaces] or [f"{prefix}/{plural}"]
    total = 0
    for path in paths:
        while True:
            try:
                page = await kube.request("GET", path, query={"limit": 1})
                break
            except KubeError as error:
                log.warning("Waiting for the API server to list %s: %s", plural, error)
                await asyncio.sleep(2)
        total += len(page.get("items") or ()) + int(page.get("metadata", {}).get("remainingItemCount") or 0)
    return total
