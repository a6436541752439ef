"""Servers of many addresses of 127/8 in one thread, whose handlers may answer as badly as they like.

A handler has the raw streams: what it writes is what goes out, so half answers, drips and silence are as easy as a
right answer.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes


class Listener:
    """`listen` returns when the port is open; `close` ends all of it, connections included."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._open: dict[asyncio.Task[None], tuple[str, asyncio.StreamWriter]] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self.connections: Counter[tuple[str, int]] = Counter()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def listen(self, ip: str, port: int, handle: Handle, tls: ssl.SSLContext | None = None) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open[task] = (ip, writer)
            self.connections[(ip, port)] += 1
            try:
                await handle(reader, writer)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.CancelledError):
                pass
            finally:
                self._open.pop(task, None)
                writer.close()

        async def start() -> asyncio.Server:
            return await asyncio.start_server(connected, ip, port, ssl=tls, backlog=BACKLOG)

        self._servers[(ip, port)] = self.run(start())

    def forget(self, ip: str) -> None:
        """Close what listens on this address, and what is connected to it."""

        async def end() -> None:
            for key in [key for key in self._servers if key[0] == ip]:
                self._servers.pop(key).close()
            ours = {task: writer for task, (where, writer) in self._open.items() if where == ip}
            for task, writer in ours.items():
                writer.transport.abort()
                task.cancel()
            await asyncio.gather(*ours, return_exceptions=True)
            # A transport that was aborted closes its socket in a later turn of the loop.
            await asyncio.sleep(0)

        self.run(end())

    def close(self) -> None:
        for ip, _ in list(self._servers):
            self.forget(ip)
        self.run(self._end_the_rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)
        self.loop.close()

    @staticmethod
    async def _end_the_rest() -> None:
        """Who connected in the very moment of the end, too."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, Any], within_seconds: float = 30.0) -> Any:
        """From another thread: its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_seconds)


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    length = next((int(line[15:]) for line in lines if line[:15].lower() == "content-length:"), 0)
    method, path, _ = lines[0].split(" ")
    return Request(method, path, await reader.readexactly(length) if length else b"")


def response(
    body: bytes, status: str = "200 OK", kind: str = "application/json", headers: tuple[str, ...] = ()
) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close")
    return "\r\n".join((*lines, *headers, "", "")).encode("utf-8", "surrogateescape") + body


async def answer(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(content)
    with suppress(OSError):
        await writer.drain()


def serving_text(text: Callable[[], bytes]) -> Handle:
    """A metrics port: `text` is made anew at each scrape."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        body = text() if request.path == "/metrics" else b"ok"
        await answer(writer, response(body, kind="text/plain; version=0.0.4"))

    return handle
