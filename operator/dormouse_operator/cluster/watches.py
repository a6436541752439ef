"""All watches of the operator's scope: what they fill, when the first picture is whole, and which of them is dead."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import kopf
from dormouse_contract.managed_model import PLURAL

from .census import Census
from .fleet import Fleet
from .kopf_watch import KopfWatch
from .mirror import Mirror
from .watch import Watch

# A namespace that neither lists nor refuses keeps the others waiting no longer than this at the start.
LATE_SECONDS = 60.0
LOOK_SECONDS = 0.1
log = logging.getLogger(__name__)


class Watches:
    """Every watch has a task of its own: none waits for another one's namespace."""

    def __init__(self, watches: Sequence[Watch], fleet: Fleet, *, monotonic: Callable[[], float]) -> None:
        self._watches = watches
        self._fleet = fleet
        self._monotonic = monotonic
        self.synced = False

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as side_by_side:
            for watch in self._watches:
                side_by_side.create_task(watch.run())

    async def wait_for_initial_sync(self) -> None:
        """Until everything is known that we may see. Acting on half a picture would tell users of missing replicas.

        A namespace that refuses us, or is late, is left out; its ManagedModels come when it lets us in.
        """
        first_at: float | None = None
        while True:
            synced = [watch for watch in self._watches if watch.synced.is_set()]
            if synced and all(watch.refused for watch in self._watches if watch not in synced):
                break
            if first_at is None and any(watch.collection.plural == PLURAL for watch in synced):
                first_at = self._monotonic()
            if first_at is not None and self._monotonic() - first_at >= LATE_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
        self.synced = True
        log.info("Watching %d ManagedModels and %d pods", len(self._fleet.managed_models), len(self._fleet.pods))

    def dead(self, after_seconds: float) -> str:
        """Names those that have shown no life for so long though nothing is in their way; empty when there are none."""
        return ", ".join(str(w.collection) for w in self._watches if w.unaccounted_seconds() > after_seconds)

    def last_alive(self) -> Mapping[tuple[str, ...], float]:
        """Of each by kind and namespace, in Unix seconds; 0 for never."""
        return {(w.collection.plural, w.collection.namespace): w.last_alive for w in self._watches}


def wire_watches(
    mirrors: Sequence[Mirror],
    fleet: Fleet,
    census: Census,
    connect: Callable[[], kopf.ConnectionInfo],
    listed: Callable[[], None],
    *,
    identity: str,
    spawned: Callable[[], None],
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> Watches:
    """A watch for each mirror; in each place the ManagedModels come after the pods.

    `listed` is called for each object that comes from a list, as it does at the start and after a long cut.
    """
    made: list[Watch] = []
    for mirror in mirrors:
        kopf_watch = KopfWatch(mirror.collection, connect, mirror.observe, listed, identity=identity, spawned=spawned)
        pods = made[-1] if mirror.collection.plural == PLURAL else None
        made.append(
            Watch(
                mirror.collection,
                census,
                kopf_watch.show,
                mirror.forget_all,
                after=pods,
                clock=clock,
                monotonic=monotonic,
            )
        )
    return Watches(made, fleet, monotonic=monotonic)
