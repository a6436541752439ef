"""The bytes of a connection, plain or through TLS.

TLS is done here on OpenSSL's own memory buffers. asyncio's holds 256 KiB for each connection in objects
that refer to each other, which strangers with failing handshakes turned into 200 MB before the garbage
collector came by (measured; `test_half_requests_from_many_addresses_leave_its_memory_flat`).
"""

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Protocol, Self

_READ_BYTES = 16 * 1024


class Stream(Protocol):
    """What an exchange reads from and writes to."""

    async def read(self, limit: int) -> bytes:
        """At least one byte and at most `limit`; nothing at the end. Raises OSError."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was written."""

    async def close(self) -> None:
        """Say goodbye and wait until everything is sent."""

    def abort(self) -> None:
        """End it now; nothing more is sent."""


class PlainStream:
    """An accepted TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def accept(cls, accepted: socket.socket) -> Self:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def read(self, limit: int) -> bytes:
        return await self._reader.read(limit)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def abort(self) -> None:
        self._writer.transport.abort()


class TlsStream:
    """The server's side of TLS on a plain stream. `handshake` comes first."""

    def __init__(self, below: Stream, context: ssl.SSLContext) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        """Raises ssl.SSLError, an OSError, for whom the context refuses.

        The alert that would tell the client why is not sent: async httpx lets it through as a bare
        `ssl.SSLError` and not as one of its own errors, while a connection that just ends is understood
        by every client. The reason is in our log.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._receive()
            else:
                self._flush()
                return

    @property
    def peer_certificate(self) -> bytes | None:
        """DER; None before the handshake is done."""
        return self._tls.getpeercert(binary_form=True)

    async def read(self, limit: int) -> bytes:
        while True:
            try:
                return self._tls.read(limit)
            except ssl.SSLWantReadError:
                await self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    async def drain(self) -> None:
        await self._below.drain()

    async def close(self) -> None:
        # It only sends our goodbye: whoever has the answer need not return it.
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        await self._below.close()

    def abort(self) -> None:
        self._below.abort()

    async def _receive(self) -> None:
        self._flush()
        await self._below.drain()
        if data := await self._below.read(_READ_BYTES):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._below.write(data)
