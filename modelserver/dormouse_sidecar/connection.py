"""The life of one connection: handshake, one request, its answer, the end.

One deadline covers everything up to the last byte of the request, so half a handshake, half a header and
half a body all end the same way. Whether its certificate is trusted is asked twice: after the handshake,
and again when the request is whole, since the trust may have changed in between.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .errors import ClientGone, RequestTooSlow
from .http1 import Exchange, Request, Response
from .limits import Limits
from .problems import answer_to
from .streams import PlainStream, TlsStream
from .tls import Door

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class Connection:
    """One accepted socket. `answering` is True from the moment its request is whole."""

    def __init__(self, accepted: socket.socket, handler: Handler, limits: Limits, door: Door | None) -> None:
        self._socket = accepted
        self._handler = handler
        self._limits = limits
        self._door = door
        self.answering = False

    async def serve(self) -> None:
        """To its end. Raises OSError for one that was refused, TimeoutError for one that was cut off."""
        deadline = asyncio.get_running_loop().time() + self._limits.request_seconds
        plain = await PlainStream.accept(self._socket)
        try:
            async with asyncio.timeout_at(deadline):
                stream = plain if self._door is None else await self._pass(self._door, plain)
            await self._converse(stream, deadline)
        except ClientGone as gone:
            _log.debug("%s", gone)
        finally:
            plain.abort()

    async def _pass(self, door: Door, plain: PlainStream) -> TlsStream:
        if door.context is None:
            raise ConnectionRefusedError("nobody is trusted now")
        stream = TlsStream(plain, door.context)
        await stream.handshake()
        return stream

    async def _converse(self, stream: PlainStream | TlsStream, deadline: float) -> None:
        self._check_admission(stream)
        exchange = Exchange(stream, self._limits)
        request = await self._read(exchange, deadline)
        # From this check to the handler's first step nothing waits.
        self._check_admission(stream)
        self.answering = True
        async with asyncio.timeout(self._limits.answer_seconds):
            await exchange.write(await self._answer(request))
        with suppress(OSError):
            async with asyncio.timeout(self._limits.goodbye_seconds):
                await exchange.discard_rest()
                await stream.close()

    async def _read(self, exchange: Exchange, deadline: float) -> Request | Exception:
        """The request, or what is wrong with it."""
        try:
            async with asyncio.timeout_at(deadline):
                return await exchange.read_request()
        except TimeoutError:
            return RequestTooSlow(
                f"No whole request arrived within {self._limits.request_seconds:g} s; nothing was changed. "
                "Open a new connection."
            )
        except (ClientGone, OSError):
            raise
        except Exception as error:
            return error

    async def _answer(self, request: Request | Exception) -> Response:
        if isinstance(request, Exception):
            return answer_to(request)
        try:
            return await self._handler(request)
        except Exception as error:
            return answer_to(error)

    def _check_admission(self, stream: PlainStream | TlsStream) -> None:
        if self._door is None:
            return
        if not isinstance(stream, TlsStream) or not self._door.admits(stream.peer_certificate):
            raise ssl.SSLCertVerificationError("its certificate is not, or no longer, trusted")
