"""One connection per call, made by aiohttp, behind httpx's interface.

A large fleet is thousands of calls a minute, and each is a TLS handshake: 0.5 ms of CPU that nothing saves. httpx's
own transport, which is made for any event loop, adds 1.4 ms to that; aiohttp, with the parser in C that kopf
brings along anyway, adds 0.4.

Whoever answers chooses how: in chunks of one byte, with heads and interim answers without end. Each of them is work for
the parser before anybody sees a body, so what counts is what comes over the wire.
"""

import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import httpx
import yarl
from aiohttp.client_proto import ResponseHandler


class OneConnectionPerCall(httpx.AsyncBaseTransport):
    """Raises httpx.TransportError for whatever happens on the way; its `connect` and `read` timeouts hold.

    most_bytes: of one answer, heads and framing included; a connection on which more comes is cut off.
    """

    def __init__(self, tls: ssl.SSLContext, most_bytes: int) -> None:
        self._tls = tls
        self._most_bytes = most_bytes
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions.get("timeout") or {}
        try:
            response = await self._opened().request(
                request.method,
                # As it is: httpx has quoted what must be.
                yarl.URL(str(request.url), encoded=True),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=timeout.get("connect"), sock_read=timeout.get("read")),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _as_httpx(error, request) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response, request))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first call, since it belongs to the loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(self._most_bytes, ssl=self._tls, force_close=True, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _Connector(aiohttp.TCPConnector):
    """Makes connections with a limit; aiohttp has no public place to say of what kind they are."""

    def __init__(self, most_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_Limited, most_bytes, loop=self._loop)  # type: ignore[assignment]  # a subclass


class _Limited(ResponseHandler):
    def __init__(self, most_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._left = most_bytes

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            super().data_received(data)
        elif self.transport is not None:
            if self._payload is not None:
                # Else the end of the connection would be the end of the answer.
                self._payload.set_exception(aiohttp.ClientPayloadError("its answer is too large"))
            self.transport.abort()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error, self._request) from error

    async def aclose(self) -> None:
        self._response.close()


def _as_httpx(error: Exception, request: httpx.Request) -> httpx.TransportError:
    # aiohttp's own words for it name the TLS context by its address in memory.
    words = str(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    kind: type[httpx.TransportError]
    if isinstance(error, TimeoutError):
        kind = httpx.ReadTimeout if isinstance(error, aiohttp.SocketTimeoutError) else httpx.ConnectTimeout
    elif isinstance(error, aiohttp.ClientConnectorError):
        kind = httpx.ConnectError
    else:
        kind = httpx.RemoteProtocolError if isinstance(error, aiohttp.ClientPayloadError) else httpx.ReadError
    return kind(words or type(error).__name__, request=request)
