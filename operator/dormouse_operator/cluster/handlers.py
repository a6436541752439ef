"""kopf's part: watches that fill the fleet. Nothing here decides, and nothing of kopf lands on any object.

Only `on.event` handlers: they need no finalizer, no annotation and no status, so deleting never waits for
us. Timers, daemons, indices and change handlers are left out for what they cost or write.
"""

from collections.abc import Callable, Mapping
from typing import Any

import kopf
from dormouse_contract.managed_model import GROUP, PLURAL, VERSION

from .fleet import Fleet
from .scope import Scope

# Lists are read in pieces: at 10,000 objects that halves the memory (184 MB instead of 321).
CHUNK_SIZE = 250
# kopf has a worker for each object that keeps the object's whole body until it ends. At its default of five
# seconds, a quick first list had some 5,000 bodies in memory at once: 130 MB.
WORKER_IDLE_SECONDS = 0.2


def registry(
    fleet: Fleet, login: Callable[[], kopf.ConnectionInfo], listed: Callable[[], None]
) -> kopf.OperatorRegistry:
    """`listed` is called for each object that comes from a list, as it does at the start and after a long cut."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def log_in(**_: Any) -> kopf.ConnectionInfo:
        return login()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def on_managed_model(event: Mapping[str, Any], **_: Any) -> None:
        if event["type"] is None:
            listed()
        fleet.observe_managed_model(event["object"], deleted=event["type"] == "DELETED")

    @kopf.on.event("", "v1", "pods", registry=handlers)
    async def on_pod(event: Mapping[str, Any], **_: Any) -> None:
        if event["type"] is None:
            listed()
        fleet.observe_pod(event["object"], deleted=event["type"] == "DELETED")

    return handlers


def settings(scope: Scope) -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    chosen.watching.chunk_size = CHUNK_SIZE
    chosen.queueing.idle_timeout = WORKER_IDLE_SECONDS
    chosen.watching.connect_timeout = 15
    chosen.networking.request_timeout = 60
    # With Roles in listed namespaces we may not watch namespaces and CRDs, and kopf would wait for ever.
    chosen.scanning.disabled = bool(scope.namespaces)
    if scope.selector:
        chosen.watching.label_selectors[GROUP, VERSION, PLURAL] = scope.selector
    # Unused, and ours all the same: should a handler ever need them, they must not be kopf's.
    chosen.persistence.finalizer = "dormouse.dev/operator"
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="dormouse.dev")
    chosen.persistence.diffbase_storage = _ComparesNothing(prefix="dormouse.dev")
    return chosen


class _ComparesNothing(kopf.AnnotationsDiffBaseStorage):
    """For handlers of changes, which we have none of, kopf copies each object of each event: a third of a first list's
    time."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()
