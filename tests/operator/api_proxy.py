"""A way to the API server that can be made to stall, to refuse and to break, for one operator alone.

It ends TLS on both sides, so that it can answer in the API server's place.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

from localcluster.controlplane import ControlPlane

Mode = Literal["forward", "stall", "403", "500", "close"]
_REASONS = {"403": "Forbidden", "500": "Internal Server Error"}


class ApiProxy:
    """`mode` counts for open connections as well as for new ones. Runs on a loop of its own, in a thread."""

    def __init__(self, control_plane: ControlPlane) -> None:
        pki = control_plane.directory / "pki"
        self._upstream_url = control_plane.url
        self._to_server = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._from_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._from_client.load_cert_chain(pki / "server.crt", pki / "server.key")
        self._mode: Mode = "forward"
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(self._start())
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._run(self._change(mode))

    def kubeconfig(self, original: Path, copy: Path) -> Path:
        """The same account by way of this proxy."""
        copy.write_text(original.read_text().replace(self._upstream_url, self.url))
        copy.chmod(0o600)
        return copy

    def close(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=20)

    async def _start(self) -> asyncio.Server:
        self._changed = asyncio.Condition()
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._from_client)

    async def _change(self, mode: Mode) -> None:
        async with self._changed:
            self._mode = mode
            self._changed.notify_all()
        if mode not in ("forward", "stall"):
            for each in list(self._open):
                each.transport.abort()

    async def _stop(self) -> None:
        self._server.close()
        await self._change("close")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            with suppress(OSError, ssl.SSLError, asyncio.CancelledError):
                await self._not_stalled()
                if self._mode == "forward":
                    await self._forward(reader, writer)
                elif self._mode != "close":
                    await self._refuse(reader, writer)
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._upstream_url.removeprefix("https://").split(":")
        server_reader, server_writer = await asyncio.open_connection(host, int(port), ssl=self._to_server)
        self._open.add(server_writer)
        try:
            ways = [self._pump(reader, server_writer), self._pump(server_reader, writer)]
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._open.discard(server_writer)
            server_writer.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._not_stalled()
            target.write(data)
            await target.drain()

    async def _not_stalled(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._mode != "stall")

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        body = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"refused by the test"}'
        head = f"HTTP/1.1 {self._mode} {_REASONS[self._mode]}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
