"""kopf's part: watches one collection and hands over its objects. Nothing here decides; nothing of kopf lands on them.

Only `on.event` handlers: they need no finalizer, no annotation and no status, so deleting never waits for us. Timers,
daemons, indices and change handlers are left out for what they cost or write. kopf's own scanning is off: it ends
the whole operator when a kind or a right is taken away, and misses a CRD that comes back. `watch.py` begins anew.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp
import kopf

from .collection import Collection
from .watch import RENEWAL_SECONDS, Signs

# Lists are read in pieces: at 10,000 objects that halves the memory (184 MB instead of 321).
CHUNK_SIZE = 250
# kopf has a worker for each object that keeps the object's whole body until it ends. At its default of five
# seconds, a quick first list had some 5,000 bodies in memory at once: 130 MB.
WORKER_IDLE_SECONDS = 0.2
# On top of what the server was asked for; then the connection counts as cut.
ANSWER_SECONDS = 15.0
END_SECONDS = 10.0
Observe = Callable[[Mapping[str, Any], bool], None]
log = logging.getLogger(__name__)


class KopfWatch:
    """`observe` gets each object, and whether it was deleted; `listed` is called for each that comes from a list.

    `spawned` is called when kopf has taken the signals for itself.
    """

    def __init__(
        self,
        collection: Collection,
        connect: Callable[[], kopf.ConnectionInfo],
        observe: Observe,
        listed: Callable[[], None],
        *,
        identity: str,
        spawned: Callable[[], None],
    ) -> None:
        self._collection = collection
        self._connect = connect
        self._observe = observe
        self._listed = listed
        self._identity = identity
        self._spawned = spawned

    async def show(self, signs: Signs) -> None:
        """Until cancelled. Raises what kopf ended with."""
        sessions: list[aiohttp.ClientSession] = []
        namespace = self._collection.namespace
        tasks = await kopf.spawn_tasks(
            registry=self._registry(signs, sessions),
            settings=_settings(self._collection),
            standalone=True,
            # Left out, kopf asks for the user's name, and in a container the user is a number without one.
            identity=self._identity,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
            clusterwide=not namespace,
            namespaces=[namespace] if namespace else [],
        )
        self._spawned()
        # Not kopf.run_tasks: at its end that cancels every task of the process, calls to pods included.
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(tasks)
            for session in sessions:
                await session.close()
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _registry(self, signs: Signs, sessions: list[aiohttp.ClientSession]) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        used: list[kopf.ConnectionInfo] = []

        @kopf.on.login(registry=registry)
        async def log_in(**_: Any) -> kopf.AiohttpSession:
            connection = self._connect()
            if connection in used:
                # kopf asks again after a 401, and would go on with the same credentials without a pause.
                raise kopf.PermanentError("the API server does not take the operator's credentials")
            used.append(connection)
            sessions.append(_session(connection, self._collection.path, signs))
            return kopf.AiohttpSession(server=connection.server, aiohttp_session=sessions[-1])

        @kopf.on.event(self._collection.group, self._collection.version, self._collection.plural, registry=registry)
        async def on_event(event: Mapping[str, Any], **_: Any) -> None:
            if event["type"] is None:
                signs.listed()
                self._listed()
            self._observe(event["object"], event["type"] == "DELETED")

        return registry


def _session(connection: kopf.ConnectionInfo, path: str, signs: Signs) -> aiohttp.ClientSession:
    """As kopf makes it; and each answer for the collection is a sign of life."""

    async def answered(_: Any, __: Any, answer: aiohttp.TraceRequestEndParams) -> None:
        if answer.response.status == 200 and answer.url.path == path:
            signs.alive()
            if "watch" in answer.url.query:
                signs.opened()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(answered)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=connection.as_ssl_context()),
        headers=connection.as_http_headers(),
        trace_configs=[trace],
    )


def _settings(collection: Collection) -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    # Its last resort after a failure is to kill the process, some minutes later.
    chosen.process.ultimate_exiting_timeout = None
    chosen.queueing.idle_timeout = WORKER_IDLE_SECONDS
    chosen.watching.chunk_size = CHUNK_SIZE
    chosen.watching.connect_timeout = ANSWER_SECONDS
    chosen.watching.server_timeout = RENEWAL_SECONDS
    chosen.watching.client_timeout = RENEWAL_SECONDS + ANSWER_SECONDS
    chosen.networking.request_timeout = 60
    chosen.networking.error_backoffs = (1, 1, 2, 3, 5)
    if collection.selector:
        key = collection.group, collection.version, collection.plural
        chosen.watching.label_selectors[key] = collection.selector
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


async def _cancel(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    _, left = await asyncio.wait(tasks, timeout=END_SECONDS)
    if left:
        log.warning("%d tasks of a watch did not end in %g s; they are left behind.", len(left), END_SECONDS)
