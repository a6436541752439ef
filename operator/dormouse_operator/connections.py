"""How strangers may connect to an aiohttp server: each has little time for its request, and there are only so many.

aiohttp waits for a request's head without end, on as many connections as there are file descriptors.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

REQUEST_SECONDS = 5.0
# Above so many, the one that has been silent longest makes room.
MOST = 256
# Taken at once, so fewer than that: each has its turn to be read before it could make room for another.
BACKLOG = 128
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connections:
    """Makes the protocols of one server, for `create_server`; `answering` goes around what answers its requests."""

    def __init__(self, server: Callable[[], web.Server], *, one_request: bool, **limits: Any) -> None:
        """one_request: a connection ends with its first request, or its time. Otherwise it may last once it has asked.

        limits: of aiohttp's RequestHandler.
        """
        self._server = server
        self._limits = limits
        self.one_request = one_request
        # In the order in which they came, or were answered.
        self._silent: dict[Connection, None] = {}
        self._asking: dict[Connection, None] = {}

    def __call__(self) -> "Connection":
        return Connection(self, self._server(), **self._limits)

    async def answering(self, handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - for the types: we made it
        self._silent.pop(connection, None)
        self._asking[connection] = None
        connection.asked()
        try:
            return await handler(request)
        finally:
            # It may have been cut off meanwhile.
            if self._asking.pop(connection, self) is None:
                (self._asking if self.one_request else self._silent)[connection] = None

    def opened(self, connection: "Connection") -> None:
        self._silent[connection] = None
        if len(self._silent) + len(self._asking) > MOST:
            next(iter(self._silent if len(self._silent) > 1 else self._asking)).cut_off()

    def lost(self, connection: "Connection") -> None:
        self._silent.pop(connection, None)
        self._asking.pop(connection, None)


class Connection(web.RequestHandler):
    """One of them, with an end from its first moment on."""

    def __init__(self, all_of_them: Connections, server: web.Server, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **limits)
        self._all = all_of_them

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._end = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.cut_off)
        self._all.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end.cancel()
        self._all.lost(self)
        super().connection_lost(exc)

    def asked(self) -> None:
        """Its request's head is there."""
        if not self._all.one_request:
            self._end.cancel()

    def cut_off(self) -> None:
        self._all.lost(self)
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Who speaks no HTTP learns that, and fills no log."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        answer = web.Response(status=status, text="That is no request.\n")
        answer.force_close()
        return answer
