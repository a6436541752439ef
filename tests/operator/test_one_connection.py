"""Each call has a connection of its own, and whatever a peer does on it is an error of httpx."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from dormouse_operator.keys.identity import anonymous_context
from dormouse_operator.one_connection import OneConnectionPerCall

MOST_BYTES = 256 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(behave: Behave) -> AsyncIterator[tuple[OneConnectionPerCall, str]]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behave(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    transport = OneConnectionPerCall(anonymous_context(), MOST_BYTES)
    try:
        yield transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/models"
    finally:
        await transport.aclose()
        server.close()


async def ask(transport: OneConnectionPerCall, url: str) -> bytes:
    timeout = httpx.Timeout(0.5).as_dict()
    response = await transport.handle_async_request(httpx.Request("GET", url, extensions={"timeout": timeout}))
    try:
        return b"".join([chunk async for chunk in response.aiter_bytes()])
    finally:
        await response.aclose()


def answering(*parts: bytes) -> Behave:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()

    return behave


def without_end(head: bytes, more: bytes) -> Behave:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(more)
                await writer.drain()

    return behave


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_peer_that_keeps_connections_open_gets_a_new_one_each_time() -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readline():
            writer.write(OK)

    async with peer(behave) as (transport, url):
        assert [await ask(transport, url) for _ in range(3)] == [b"ok"] * 3
    assert connections == 3


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(answering(), id="hangs up"),
        pytest.param(answering(b"\x00\xff no HTTP\r\n\r\n"), id="no HTTP"),
        pytest.param(answering(OK[:-1]), id="half an answer"),
        pytest.param(
            answering(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n"), id="a header without end"
        ),
        pytest.param(silent, id="silent"),
        pytest.param(without_end(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100), id="interim answers without end"),
        pytest.param(without_end(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100), id="headers without end"),
        pytest.param(without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"[" * 4096), id="a body without end"),
        pytest.param(
            without_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n" * 1000),
            id="small chunks without end",
        ),
    ],
)
async def test_what_is_no_answer_is_an_error_of_the_transport_in_time(behave: Behave) -> None:
    async with asyncio.timeout(5), peer(behave) as (transport, url):
        with pytest.raises(httpx.TransportError) as raised:
            await ask(transport, url)
    assert str(raised.value), "with words"
    assert "0x" not in str(raised.value), "that are the same each time"


async def test_a_redirect_is_not_followed() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with peer(answering(moved)) as (transport, url):
        assert (await transport.handle_async_request(httpx.Request("GET", url))).status_code == 307
