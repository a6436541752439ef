"""Nobody can hold either port: everything unfinished is cut off, and there is a number of everything."""

import asyncio
import contextlib
import logging
from dataclasses import replace

import httpx
import pytest
from dormouse_sidecar import Settings, Sidecar
from dormouse_sidecar.throttled_log import ThrottledWarning
from starlette.responses import Response

from tests.waiting import auntil

from .certificates import Credential
from .clients import (
    MODELS,
    RESIDENCY,
    ask,
    connected,
    look,
    order,
    seconds_until_cut_off,
)
from .conftest import LIMITS
from .model_process import ModelProcess
from .mounted_trust import MountedTrust

# A record that announces a ClientHello of 512 bytes and then stops.
HALF_A_CLIENT_HELLO = bytes.fromhex("16030102000100 01fc0303".replace(" ", "")) + b"\0" * 40
CUT_OFF_WITHIN = LIMITS.request_seconds + LIMITS.goodbye_seconds + 1.5

STALLS = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"GET /metrics HT", id="half a request line"),
    pytest.param(b"GET /metrics HTTP/1.1\r\nHost: pod\r\nX-Half: ", id="half a header"),
    pytest.param(b"PUT / HTTP/1.1\r\nHost: pod\r\nContent-Length: 100\r\n\r\n{", id="half a body"),
]


async def assert_cut_off(reader: asyncio.StreamReader) -> None:
    assert await seconds_until_cut_off(reader) < CUT_OFF_WITHIN


@pytest.mark.parametrize("sent", STALLS)
async def test_a_stalled_request_on_the_plain_port_is_cut_off(sidecar: Sidecar, sent: bytes) -> None:
    async with connected(sidecar.plain.port) as (reader, writer):
        writer.write(sent)
        await assert_cut_off(reader)
    await auntil(lambda: sidecar.plain.connections == 0)


@pytest.mark.parametrize("sent", STALLS)
async def test_a_stalled_request_of_the_operator_is_cut_off(
    sidecar: Sidecar, operator: Credential, sent: bytes
) -> None:
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(sent)
        await assert_cut_off(reader)
    await auntil(lambda: sidecar.control.connections == 0)


@pytest.mark.parametrize("sent", [b"", HALF_A_CLIENT_HELLO, b"GET / HT"], ids=["none", "half", "not TLS"])
async def test_a_handshake_that_is_never_finished_is_cut_off(sidecar: Sidecar, sent: bytes) -> None:
    async with connected(sidecar.control.port) as (reader, writer):
        writer.write(sent)
        await assert_cut_off(reader)
    await auntil(lambda: sidecar.control.connections == 0)


async def test_one_byte_now_and_then_buys_no_time(sidecar: Sidecar) -> None:
    async with connected(sidecar.plain.port) as (reader, writer):
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: pod\r\nX-Slow: ")
        cut_off = asyncio.create_task(seconds_until_cut_off(reader))
        while not cut_off.done():
            writer.write(b"x")
            await asyncio.wait([cut_off], timeout=0.05)
        assert cut_off.result() < CUT_OFF_WITHIN


async def test_a_slow_request_is_told_so(sidecar: Sidecar) -> None:
    async with connected(sidecar.plain.port) as (reader, writer):
        writer.write(b"GET /metrics HTTP/1.1\r\n")
        answer = await reader.read(-1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


async def test_a_client_that_does_not_read_its_answer_is_cut_off(
    settings: Settings, model_process: ModelProcess
) -> None:
    model_process.exposition = lambda: Response(b"# \n" * 1_000_000, media_type="text/plain")
    limits = replace(LIMITS, answer_seconds=1.0)
    async with (
        Sidecar(replace(settings, limits=limits)) as sidecar,
        connected(sidecar.plain.port) as (_, writer),
    ):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: pod\r\n\r\n")
        await auntil(lambda: sidecar.plain.connections == 1)
        await auntil(lambda: sidecar.plain.connections == 0)


async def test_a_connection_carries_one_request(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    one = f"GET {MODELS} HTTP/1.1\r\nHost: pod\r\n\r\n".encode()
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(one + one)
        answers = await reader.read(-1)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert len(model_process.questions) == 1


@pytest.mark.parametrize("which", ["control", "plain"])
async def test_one_address_can_not_take_all_connections(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, which: str
) -> None:
    port = (sidecar.control if which == "control" else sidecar.plain).port
    async with contextlib.AsyncExitStack() as held:
        for _ in range(LIMITS.max_connections_per_peer):
            await held.enter_async_context(connected(port, local="127.0.0.2"))
        reader, _ = await held.enter_async_context(connected(port, local="127.0.0.2"))
        assert await seconds_until_cut_off(reader) < LIMITS.request_seconds
        if which == "control":
            assert (await ask(port, operator)).status_code == 200
        else:
            assert (await look(port, "/healthz")).status_code == 200


@pytest.mark.parametrize("which", ["control", "plain"])
async def test_a_full_port_cuts_off_the_oldest_unfinished_request_for_a_new_one(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, which: str
) -> None:
    listener = sidecar.control if which == "control" else sidecar.plain
    async with contextlib.AsyncExitStack() as held:
        readers = []
        for number in range(LIMITS.max_connections):
            reader, _ = await held.enter_async_context(connected(listener.port, local=f"127.0.1.{1 + number % 4}"))
            readers.append(reader)
        await auntil(lambda: listener.connections == LIMITS.max_connections)
        if which == "control":
            assert (await ask(listener.port, operator)).status_code == 200
        else:
            assert (await look(listener.port, "/healthz")).status_code == 200
        assert await seconds_until_cut_off(readers[0]) < LIMITS.request_seconds / 2
        # The other port has room of its own.
        assert (await look(sidecar.plain.port, "/healthz")).status_code == 200


async def test_a_port_that_is_full_of_answers_refuses_and_harms_none_of_them(
    settings: Settings, trust: MountedTrust, model_process: ModelProcess, operator: Credential
) -> None:
    model_process.hold = asyncio.Event()
    trust.publish(operator)
    limits = replace(LIMITS, max_connections=2)
    async with Sidecar(replace(settings, limits=limits)) as sidecar:
        await auntil(lambda: sidecar.control.is_open)
        port = sidecar.control.port
        asked = [asyncio.create_task(ask(port, operator, "PUT", RESIDENCY, json=order())) for _ in range(2)]
        await auntil(lambda: len(model_process.orders) == 2)
        with pytest.raises(httpx.TransportError):
            await ask(port, operator)
        assert (await look(sidecar.plain.port, "/healthz")).status_code == 200
        model_process.hold.set()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [202, 202]


async def test_a_flood_of_connections_leaves_nothing_behind(sidecar: Sidecar, operator: Credential) -> None:
    async def come_and_go(number: int) -> None:
        with contextlib.suppress(OSError):
            async with connected(sidecar.control.port, local=f"127.0.2.{1 + number % 200}") as (_, writer):
                writer.write(HALF_A_CLIENT_HELLO)

    for start in range(0, 400, 50):
        await asyncio.gather(*(come_and_go(number) for number in range(start, start + 50)))
    await auntil(lambda: sidecar.control.connections == 0)
    assert not sidecar.control._peers


async def test_an_answer_under_way_is_finished_when_the_sidecar_stops(
    settings: Settings, model_process: ModelProcess, operator: Credential
) -> None:
    model_process.hold = asyncio.Event()
    settings.trust_dir.mkdir()
    (settings.trust_dir / "operator.crt").write_bytes(operator.pem)
    async with Sidecar(settings) as sidecar:
        await auntil(lambda: sidecar.control.is_open)
        async with connected(sidecar.control.port) as (reader, _):
            asked = asyncio.create_task(ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=order()))
            await auntil(lambda: len(model_process.orders) == 1)
            stopping = asyncio.create_task(sidecar.__aexit__(None, None, None))
            # What has not asked anything yet ends at once, what is being answered does not.
            assert await seconds_until_cut_off(reader) < LIMITS.request_seconds
            assert not stopping.done()
            model_process.hold.set()
            assert (await asked).status_code == 202
            await stopping


def test_strangers_can_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    warn = ThrottledWarning(logging.getLogger("stranger"), every_seconds=10, clock=lambda: now[0])
    for _ in range(1000):
        warn("refused %s", "one")
    now[0] = 10.0
    warn("refused %s", "one")
    assert [record.getMessage() for record in caplog.records] == [
        "refused one",
        "refused one (999 more warnings of this kind since the last one)",
    ]
