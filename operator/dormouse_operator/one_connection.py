"""One connection per call, made by aiohttp, behind httpx's interface.

A large fleet is thousands of calls a minute, and each is a TLS handshake: 0.5 ms of CPU that nothing saves. httpx's
own transport, which is made for any event loop, adds 1.4 ms to that; aiohttp, with the parser in C that kopf
brings along anyway, adds 0.4.
"""

import ssl
from collections.abc import AsyncIterator

import aiohttp
import httpx
import yarl


class OneConnectionPerCall(httpx.AsyncBaseTransport):
    """Raises httpx.TransportError for whatever happens on the way; its `connect` and `read` timeouts hold."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
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
                connector=aiohttp.TCPConnector(ssl=self._tls, force_close=True, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


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
