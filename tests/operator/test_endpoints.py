"""`/metrics` and `/healthz` of the operator: what they answer, and that strangers who are slow or many do no harm."""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from dormouse_operator import connections
from dormouse_operator.endpoints import Endpoints
from prometheus_client import CollectorRegistry, Gauge

STALLED_AFTER_SECONDS = 60.0
CROWD = 1000


class Operator:
    """Endpoints that listen; `age` is how long ago the last pass ended."""

    def __init__(self) -> None:
        self.age = 1.0
        registry = CollectorRegistry()
        Gauge("dormouse_operator_leader", "1 while it acts", registry=registry).set(1)
        self._many = Gauge("dormouse_operator_idle_signal_missing", "of each", ("name",), registry=registry)
        self._endpoints = Endpoints(
            registry,
            seconds_since_progress=lambda: self.age,
            stalled_after_seconds=STALLED_AFTER_SECONDS,
            dead_watches=lambda after_seconds: self.dead if after_seconds == STALLED_AFTER_SECONDS else "",
        )
        self.dead = ""
        self.port = 0

    def show(self, series: int) -> None:
        for number in range(series):
            self._many.labels(f"model-{number}").set(0)

    async def listen(self) -> asyncio.Server:
        server = await self._endpoints.serve("127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def ask(self, method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            return await http.request(method, f"http://127.0.0.1:{self.port}{path}")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *parts: bytes, every_seconds: float = 0.0) -> bytes:
        """All that comes back until the connection ends."""
        reader, writer = await self.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(every_seconds)
            return await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    made = Operator()
    server = await made.listen()
    yield made
    server.close()


async def test_the_metrics_are_those_of_the_registry(operator: Operator) -> None:
    answer = await operator.ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "dormouse_operator_leader 1.0" in answer.text
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("age", "status", "text"),
    [
        pytest.param(1.0, 200, "ok\n", id="progress"),
        pytest.param(STALLED_AFTER_SECONDS, 200, "ok\n", id="just so"),
        pytest.param(61.0, 503, "The last pass over the fleet ended 61 s ago. Models stay as they are", id="stalled"),
    ],
)
async def test_health_is_progress(operator: Operator, age: float, status: int, text: str) -> None:
    operator.age = age
    answer = await operator.ask("GET", "/healthz")
    assert (answer.status_code, answer.text[: len(text)]) == (status, text)
    assert answer.headers["content-type"] == "text/plain"


async def test_a_dead_watch_is_named(operator: Operator) -> None:
    operator.dead = "pods in speech"
    answer = await operator.ask("GET", "/healthz")
    assert answer.status_code == 503
    assert answer.text.startswith("No sign of life from the watches of pods in speech, which the API server would")


async def test_a_query_changes_nothing(operator: Operator) -> None:
    assert (await operator.ask("GET", "/healthz?verbose=1")).text == "ok\n"


async def test_nothing_else_is_there(operator: Operator) -> None:
    answer = await operator.ask("GET", "/secrets")
    assert (answer.status_code, answer.text) == (404, "Here are /metrics and /healthz.\n")


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
async def test_a_head_is_the_answer_without_its_body(operator: Operator, path: str) -> None:
    head, answer = await operator.ask("HEAD", path), await operator.ask("GET", path)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing"])
async def test_nothing_can_be_changed(operator: Operator, method: str, path: str) -> None:
    answer = await operator.ask(method, path)
    assert (answer.status_code, answer.text) == (405, "GET only.\n")


async def test_a_connection_serves_one_request(operator: Operator) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: operator\r\n\r\n"
    assert (await operator.say(one + one)).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", id="a long line"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", id="a long header"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 100_000, id="a header without an end"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="a TLS handshake"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
        pytest.param(b"\xff\xfe\r\n\r\n", id="no text"),
    ],
)
async def test_what_is_no_request_gets_no_answer_of_ours_and_an_end(operator: Operator, request_bytes: bytes) -> None:
    began = time.monotonic()
    answer = await operator.say(request_bytes)
    assert b" 200 " not in answer
    assert time.monotonic() - began < connections.REQUEST_SECONDS + 3
    assert (await operator.ask("GET", "/healthz")).text == "ok\n"


@pytest.mark.parametrize(
    ("parts", "every_seconds"),
    [
        pytest.param([], 0.0, id="says nothing"),
        pytest.param([b"GET /healthz HTTP/1.1\r\n"], 0.0, id="stops in the middle"),
        pytest.param([b"GET /healthz HTTP/1.1\r\n", *[b"X: 1\r\n"] * 40], 0.05, id="says a header now and then"),
        pytest.param([b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n", *[b"1"] * 8], 0.1, id="a slow body"),
    ],
)
async def test_who_is_slow_is_hung_up_on(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, parts: list[bytes], every_seconds: float
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    began = time.monotonic()
    assert b" 200 " not in await operator.say(*parts, every_seconds=every_seconds)
    assert time.monotonic() - began < 8


async def test_who_does_not_read_the_answer_is_hung_up_on(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 4.0)
    operator.show(series=100_000)
    # Little room on its way, so that most of the answer waits at the operator.
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", operator.port))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: operator\r\n\r\n")
        # As long as such a client may take, and a little more.
        await asyncio.sleep(5)
        client.settimeout(5)
        head = client.recv(4096)
        length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
        got = len(head)
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                got += len(part)
    assert got < length, "the rest was dropped"
    assert (await operator.ask("GET", "/healthz")).text == "ok\n"


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nX: "], ids=["nothing", "half a request"])
async def test_a_crowd_that_says_nothing_keeps_nobody_else_out(operator: Operator, said: bytes) -> None:
    crowd = [await operator.connect() for _ in range(CROWD)]
    for _, writer in crowd:
        writer.write(said)
    began = time.monotonic()
    assert (await operator.ask("GET", "/healthz")).text == "ok\n"
    assert (await operator.ask("GET", "/metrics")).status_code == 200
    assert time.monotonic() - began < 3
    await asyncio.wait_for(asyncio.gather(*(ended(reader) for reader, _ in crowd)), 30)
    for _, writer in crowd:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> None:
    """Hung up on, without a word."""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


async def test_a_crowd_holds_no_more_connections_than_there_may_be(operator: Operator) -> None:
    """So that the file descriptors are there for what the operator has to do."""
    before = descriptors()
    crowd = [await operator.connect() for _ in range(CROWD)]
    assert (await operator.ask("GET", "/healthz")).text == "ok\n"
    assert descriptors() - before - CROWD <= connections.MOST + 10
    for _, writer in crowd:
        writer.close()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_who_reads_slowly_is_spared_while_there_are_silent_ones(operator: Operator) -> None:
    operator.show(series=100_000)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", operator.port))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: operator\r\n\r\n")
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        got = len(await loop.sock_recv(client, 4096))
        crowd = [await operator.connect() for _ in range(CROWD)]
        while part := await loop.sock_recv(client, 1 << 20):
            got += len(part)
        assert got > 4_000_000, "to its end"
    for _, writer in crowd:
        writer.close()


async def test_strangers_leave_no_trace_in_the_log(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    await operator.say(b"nonsense\r\n\r\n")
    await operator.say(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")
    reader, writer = await operator.connect()
    writer.write(b"GET /healthz")
    writer.transport.abort()
    await operator.ask("GET", "/nothing")
    assert [record for record in caplog.records if record.name != "httpx"] == []
    del reader
