"""How long a server waits for the head of a request, and on how many connections.

uvicorn waits for it without end on each of them, so half a request keeps its connection, and thousands of those take
all file descriptors: models can't be loaded then. A request whose head is there is never cut off here: how long its
body and its answer may take is for the app to say, or for a proxy in front. A server whose bodies are all small may
have them count as the head does. Nor is a connection cut off because many came at once: a burst of honest ones looks
like that, too.
"""

import asyncio
import logging
import resource
import sys
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger("dormouse")

HEAD_SECONDS = 10.0
# Above so many, each one that comes has only this long. Honest heads arrive within milliseconds.
MANY_WITHOUT_HEAD = 256
HEAD_SECONDS_AMONG_MANY = 1.0
# Of the file descriptors that the process may have; the rest is for files, sockets to elsewhere and the models.
_SHARE_OF_DESCRIPTORS = 0.75


def bounded_connections(most: int | None = None, *, with_body: bool = False) -> "type[Bounded]":
    """For one server, as `uvicorn.Config(http=…)`. h11 whatever else is installed: one reading of a request.

    most: connections at a time, where the file descriptors allow more. with_body: a request is waited for until its
    body is there, too.
    """
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    unlimited = descriptors == resource.RLIM_INFINITY
    affordable = sys.maxsize if unlimited else int(descriptors * _SHARE_OF_DESCRIPTORS)

    class OfOneServer(Bounded):
        waiting: ClassVar[dict[Bounded, asyncio.TimerHandle]] = {}
        idle: ClassVar[dict[Bounded, None]] = {}
        most_connections: ClassVar[int] = affordable if most is None else min(most, affordable)
        waits_for_body: ClassVar[bool] = with_body

    return OfOneServer


class Bounded(H11Protocol):
    """waiting: the server's connections without a whole head, the one that waits longest first.

    idle: those that were answered and ask nothing, the one that has been idle longest first; uvicorn ends them in time.
    """

    waiting: "ClassVar[dict[Bounded, asyncio.TimerHandle]]"
    idle: "ClassVar[dict[Bounded, None]]"
    most_connections: ClassVar[int]
    waits_for_body: ClassVar[bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.most_connections:
            # Maybe this one, when all others are being answered.
            spared = next(iter(self.waiting), self)
            if spared is self:
                spared = next(iter(self.idle), self)
            _log.debug("a connection is cut off: %d are open", len(self.connections))
            spared.cut_off()

    def data_received(self, data: bytes) -> None:
        self.idle.pop(self, None)
        if self._between_requests:
            self._wait_for_head()
        super().data_received(data)
        if not self._is_unfinished:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # It may be at the next request already.
        if self._between_requests and self not in self.waiting and not self.transport.is_closing():
            self.idle[self] = None

    def handle_websocket_upgrade(self, event: object) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def cut_off(self) -> None:
        self._stop_waiting()
        self.idle.pop(self, None)
        self.transport.abort()

    @property
    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_unfinished(self) -> bool:
        return self._between_requests or (self.waits_for_body and self.cycle is not None and self.cycle.more_body)

    def _wait_for_head(self) -> None:
        if self not in self.waiting and not self.transport.is_closing():
            seconds = HEAD_SECONDS if len(self.waiting) < MANY_WITHOUT_HEAD else HEAD_SECONDS_AMONG_MANY
            self.waiting[self] = self.loop.call_later(seconds, self.cut_off)

    def _stop_waiting(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()
