"""A connection carries one request: when its answer is out, it ends, and gives its place to the next."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import replace

import pytest
from dormouse_sidecar import Settings, Sidecar
from starlette.responses import Response

from tests.waiting import auntil

from .certificates import Credential
from .clients import MODELS, ask, connected, look
from .conftest import LIMITS
from .model_process import ModelProcess

GET_MODELS = f"GET {MODELS} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
GET_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
# What would show as the second that a client was waited for.
LONG = 30.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """It would wait for long for the goodbye of a client that has not sent all it had."""
    return replace(settings, limits=replace(LIMITS, goodbye_seconds=LONG))


async def whole_answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read(-1)


@pytest.mark.parametrize("encrypted", [True, False], ids=["control", "plain"])
async def test_a_client_that_goes_on_listening_is_not_waited_for(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, encrypted: bool
) -> None:
    port = sidecar.control if encrypted else sidecar.plain
    began = time.monotonic()
    async with connected(port.port, operator if encrypted else None) as (reader, writer):
        writer.write(GET_MODELS if encrypted else GET_HEALTH)
        answer = await whole_answer(reader)
        assert answer.startswith(b"HTTP/1.1 200")
        await auntil(lambda: port.connections == 0)
    assert time.monotonic() - began < LONG / 2


async def test_tls_is_ended_as_it_should_be(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    """With a goodbye of TLS: without one, a client that is careful takes the answer for one that was cut off."""
    context = operator.client_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.control.port, ssl=context)
    writer.write(GET_MODELS)
    assert (await whole_answer(reader)).startswith(b"HTTP/1.1 200")
    writer.transport.abort()


async def test_more_come_one_after_another_than_it_takes_at_once(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    """Each answer frees its place at once: clients that leave their side open are no crowd."""
    began, open_still = time.monotonic(), []
    try:
        for _ in range(5 * LIMITS.max_connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.plain.port)
            open_still.append(writer)
            writer.write(GET_HEALTH)
            assert (await whole_answer(reader)).startswith(b"HTTP/1.1 200")
            await auntil(lambda: sidecar.plain.connections == 0)
        assert (await ask(sidecar.control.port, operator)).status_code == 200
    finally:
        for writer in open_still:
            writer.transport.abort()
    assert time.monotonic() - began < LONG / 2


async def test_a_large_answer_arrives_whole_at_a_slow_reader(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    text = "# HELP a b\n" + 'a{x="y"} 1\n' * 60_000
    model_process.exposition = lambda: Response(text, media_type="text/plain")
    async with connected(sidecar.plain.port) as (reader, writer):
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        received = bytearray()
        async with asyncio.timeout(20):
            while part := await reader.read(16 * 1024):
                received += part
                await asyncio.sleep(0.001)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert body.count(b"\n") > 60_000


async def test_what_a_client_sends_behind_its_request_does_not_reset_the_answer(
    sidecar: Sidecar, model_process: ModelProcess
) -> None:
    for _ in range(20):
        async with connected(sidecar.plain.port) as (reader, writer):
            writer.write(GET_HEALTH + GET_HEALTH)
            writer.write_eof()
            assert (await whole_answer(reader)).startswith(b"HTTP/1.1 ")
    assert (await look(sidecar.plain.port, "/healthz")).status_code == 200
