"""One request and one answer on one connection, on h11.

A general HTTP server keeps connections alive, hides the peer's certificate and reads headers for as long
as they take. Here a connection is one exchange with a bounded size, whose time the listener limits, and
nothing is handled before the whole request has arrived.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import h11
from dormouse_contract.printable import printable

from .errors import BodyTooLarge, ClientGone, MalformedRequest
from .limits import Limits
from .streams import Stream

_READ_BYTES = 8 * 1024
_WRITE_BYTES = 64 * 1024
# How much of an over-long body is read and thrown away so that the client sees why it was refused.
_DISCARD_BYTES = 1024 * 1024
_QUOTED_CHARACTERS = 200

_Event = h11.Request | h11.Data | h11.EndOfMessage | h11.ConnectionClosed


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. `path` is as sent, without the query and not unquoted; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Exchange:
    """Reads the request, writes the answer; once each."""

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_header_bytes)
        self._without_body = False

    async def read_request(self) -> Request:
        """Raises MalformedRequest, BodyTooLarge, or ClientGone; it sets no time limit itself."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            raise ClientGone("the connection ended before a request")
        self._without_body = head.method == b"HEAD"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        # h11 has checked that it is a number.
        self._refuse_above(int(headers.get("content-length", "0")))
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            self._refuse_above(len(body) + len(event.data))
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            raise ClientGone("the connection ended within a request")
        path = head.target.partition(b"?")[0]
        return Request(head.method.decode("ascii"), path.decode("latin-1"), headers, bytes(body))

    async def write(self, response: Response) -> None:
        """Send the answer; a slow reader is held back by the transport's buffer, never by our memory."""
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
            *response.headers,
        ]
        self._send(h11.Response(status_code=response.status, headers=headers))
        body = b"" if self._without_body else response.body
        for start in range(0, len(body), _WRITE_BYTES):
            self._send(h11.Data(data=body[start : start + _WRITE_BYTES]))
            await self._stream.drain()
        self._send(h11.EndOfMessage())
        await self._stream.drain()

    async def discard_rest(self) -> None:
        """Read on, within limits, what the client still sends of a request that was answered early.

        Closing a socket with unread bytes resets it, and a reset can overtake the answer.
        """
        # MUST_CLOSE: our answer said that the connection ends, so all that it was to bring is here.
        if self._http.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED) and not self._http.trailing_data[0]:
            return
        left = _DISCARD_BYTES
        while left > 0 and (data := await self._stream.read(_READ_BYTES)):
            left -= len(data)

    def _refuse_above(self, body_bytes: int) -> None:
        if body_bytes > self._limits.max_body_bytes:
            raise BodyTooLarge(
                f"The body has more than {self._limits.max_body_bytes} bytes, so it was not read; nothing "
                "was changed. Send an order as in the control API: each is far below 4 KiB."
            )

    async def _next_event(self) -> _Event:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                why = printable(error, _QUOTED_CHARACTERS)
                raise MalformedRequest(
                    f"The request can't be read as HTTP/1.1 ({why}); nothing was changed. Check the client.",
                    headers_too_large=error.error_status_hint == 431,
                ) from error
            if event is h11.PAUSED:
                raise MalformedRequest("A connection carries one request here; open another one.")
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            self._http.receive_data(await self._stream.read(_READ_BYTES))

    def _send(self, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage) -> None:
        self._stream.write(self._http.send(event) or b"")
