"""`/metrics` and `/healthz` of the operator, on the loop itself: when that hangs, so does liveness.

Anybody may connect. A connection is for one small request and lives for some seconds at most, whatever it is busy
with; and a crowd that says nothing makes room for whoever asks (`connections.py`).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .connections import BACKLOG, Connections
from .exposition import Exposition

LINE_BYTES = 4096
_LIMITS: dict[str, Any] = {
    "max_line_size": LINE_BYTES,
    "max_field_size": LINE_BYTES,
    "lingering_time": 0.0,
    "access_log": None,
}


class Endpoints:
    """`seconds_since_progress` is the age of the last finished pass; beyond the limit we are not alive.

    `dead_watches` names the watches without a sign of life for longer than its argument, though the API server would
    show them. An API server that is away or refuses is no reason to be restarted.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        seconds_since_progress: Callable[[], float],
        stalled_after_seconds: float,
        dead_watches: Callable[[float], str] = lambda after_seconds: "",
    ) -> None:
        self._exposition = Exposition(registry)
        self._seconds_since_progress = seconds_since_progress
        self._stalled_after_seconds = stalled_after_seconds
        self._dead_watches = dead_watches

    async def serve(self, host: str, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        connections = Connections(lambda: server, one_request=True, **_LIMITS)
        server = web.Server(partial(connections.answering, self._answer))
        return await loop.create_server(connections, host, port, backlog=BACKLOG)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"GET only.\n")
        match request.path:
            case "/metrics":
                return _response(HTTPStatus.OK, await self._exposition.text(), CONTENT_TYPE_LATEST)
            case "/healthz":
                return self._health()
            case _:
                return _response(HTTPStatus.NOT_FOUND, b"Here are /metrics and /healthz.\n")

    def _health(self) -> web.Response:
        wrong = self._what_is_wrong()
        if not wrong:
            return _response(HTTPStatus.OK, b"ok\n")
        text = f"{wrong} Models stay as they are; restart me.\n"
        return _response(HTTPStatus.SERVICE_UNAVAILABLE, text.encode())

    def _what_is_wrong(self) -> str:
        age = self._seconds_since_progress()
        if age > self._stalled_after_seconds:
            return f"The last pass over the fleet ended {age:.0f} s ago."
        dead = self._dead_watches(self._stalled_after_seconds)
        return f"No sign of life from the watches of {dead}, which the API server would show." if dead else ""


def _response(status: HTTPStatus, body: bytes, content_type: str = "text/plain") -> web.Response:
    # Without a version: strangers need not learn which one to attack.
    headers = {"Content-Type": content_type, "Server": "dormouse-operator"}
    response = web.Response(status=status, body=body, headers=headers)
    response.force_close()
    return response
