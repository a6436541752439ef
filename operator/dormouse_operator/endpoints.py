"""`/metrics` and `/healthz` of the operator, on the loop itself: when that hangs, so does liveness."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

REQUEST_SECONDS = 5.0
LINE_BYTES = 4096


class Endpoints:
    """`seconds_since_progress` is the age of the last finished pass; beyond the limit we are not alive."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        seconds_since_progress: Callable[[], float],
        stalled_after_seconds: float,
    ) -> None:
        self._registry = registry
        self._seconds_since_progress = seconds_since_progress
        self._stalled_after_seconds = stalled_after_seconds

    async def serve(self, host: str, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._connection, host, port, limit=LINE_BYTES)

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        match path.partition("?")[0]:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case "/healthz":
                return self._health()
            case _:
                return HTTPStatus.NOT_FOUND, "text/plain", b"Here are /metrics and /healthz.\n"

    def _health(self) -> tuple[HTTPStatus, str, bytes]:
        age = self._seconds_since_progress()
        if age <= self._stalled_after_seconds:
            return HTTPStatus.OK, "text/plain", b"ok\n"
        text = f"The last pass over the fleet ended {age:.0f} s ago. Models stay as they are; restart me.\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", text.encode()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                words = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
                method, path = (words[0], words[1]) if len(words) == 3 else ("", "")
                if method in ("GET", "HEAD"):
                    status, kind, body = self.answer(path)
                else:
                    status, kind, body = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET only.\n"
                head = (
                    f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + (b"" if method == "HEAD" else body))
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass
        finally:
            writer.close()
