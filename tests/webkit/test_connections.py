"""A server keeps no connection that never sends the head of a request, and no more of them than it can afford."""

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from dormouse_webkit import connections
from dormouse_webkit.connections import Bounded, bounded_connections
from starlette.types import Receive, Scope, Send

from tests.waiting import until

SECONDS = 0.6
MANY = 20
HALF = b"GET /half HTTP/1.1\r\nHost: here\r\nX-Half: "


class App:
    """Answers when it has the body whole; `/slow` waits until it may go on, `/stream` sends for as long."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"] in ("/slow", "/stream") and not self.may_go_on.is_set():
            if scope["path"] == "/stream":
                await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"answered " + body})


class Upgraded(asyncio.Protocol):
    """What a WebSocket library is to uvicorn, as far as it concerns the connection."""

    def __init__(self, **of_the_server: object) -> None:
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(b"101" if b"Upgrade" in data or b"upgrade" in data else data)


class Served:
    def __init__(self, port: int, app: App, server: uvicorn.Server, bounded: type[Bounded]) -> None:
        self.port, self.app, self._server, self.bounded = port, app, server, bounded
        self.url = f"http://127.0.0.1:{port}"

    @property
    def open(self) -> int:
        return len(self._server.server_state.connections)

    def connect(self, *parts: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        for part in parts:
            connection.sendall(part)
        return connection

    def answers(self) -> bool:
        return httpx.get(self.url, timeout=20).text == "answered "


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SECONDS)
    monkeypatch.setattr(connections, "MANY_WITHOUT_HEAD", MANY)
    monkeypatch.setattr(connections, "HEAD_SECONDS_AMONG_MANY", SECONDS / 3)
    app = App()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        bounded = bounded_connections()
        config = uvicorn.Config(app, log_level="critical", http=bounded, ws=Upgraded, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield Served(listener.getsockname()[1], app, server, bounded)
        app.may_go_on.set()
        server.should_exit = True
        thread.join(20)


def ends(connection: socket.socket) -> bool:
    """Whether the server ended it, maybe with a word, before the socket's own time is up."""
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"\r\n\r\n", HALF, b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 500],
    ids=["nothing", "a letter", "empty lines", "half a header", "a line", "many headers"],
)
def test_a_connection_without_a_whole_head_ends(served: Served, sent: bytes) -> None:
    with served.connect(sent) as half:
        began = time.monotonic()
        assert ends(half)
        assert time.monotonic() - began < 10


def test_a_head_that_comes_in_drops_has_no_more_time_for_it(served: Served) -> None:
    with served.connect(HALF) as half, contextlib.suppress(ConnectionError):
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            half.sendall(b"x")
            time.sleep(0.02)  # the pace of the drops, nothing is waited for
            if served.open == 0:
                return
        pytest.fail("it is still there")


@pytest.mark.parametrize("rest", [b"", b"GET /second HTTP/1.1\r\nHo", b"\r\n"], ids=["idle", "half", "an empty line"])
def test_after_an_answer_the_next_head_has_as_little_time(served: Served, rest: bytes) -> None:
    with served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as kept:
        received = b""
        while b"answered" not in received:
            received += kept.recv(4096)
        kept.sendall(rest)
        kept.settimeout(15)
        while data := kept.recv(4096):
            received += data
        until(lambda: served.open == 0)


def test_half_of_a_pipelined_request_has_as_little_time(served: Served) -> None:
    with served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /second HT") as kept:
        received = b""
        while data := kept.recv(4096):
            received += data
        assert b"answered" in received


def test_hundreds_of_half_requests_leave_room_for_whole_ones(served: Served) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(300):
            held.enter_context(served.connect(HALF))
            held.enter_context(served.connect())
        assert served.answers()
        until(lambda: served.open <= MANY)
        until(lambda: served.open == 0)
        assert served.answers()


def test_a_burst_of_whole_requests_is_answered_to_the_last_one(served: Served) -> None:
    """All are accepted before the first of them is read."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as held:
        burst = [held.enter_context(served.connect(request)) for _ in range(10 * MANY)]
        for connection in burst:
            received = b""
            while data := connection.recv(4096):
                received += data
            assert b"answered" in received


def test_what_is_being_answered_is_never_cut_off(served: Served) -> None:
    with contextlib.ExitStack() as held:
        slow = [held.enter_context(served.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")) for _ in range(MANY + 5)]
        stream = held.enter_context(served.connect(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        until(lambda: served.open == MANY + 6)
        for _ in range(3 * MANY):
            held.enter_context(served.connect(HALF))
        until(lambda: served.open == MANY + 6)  # the half ones had their time, and these longer than that
        served.app.may_go_on.set()
        for connection in slow:
            received = b""
            while b"answered" not in received:
                received += connection.recv(4096)
        whole = b""
        while data := stream.recv(65536):
            whole += data
        assert whole.endswith(b"answered \r\n0\r\n\r\n")


def test_a_body_may_take_its_time(served: Served) -> None:
    with served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n") as slow:
        end = time.monotonic() + 2 * SECONDS
        for letter in b"hello":
            slow.sendall(bytes([letter]))
            until(lambda: time.monotonic() >= end - SECONDS)
        until(lambda: time.monotonic() >= end)
        received = b""
        while data := slow.recv(4096):
            received += data
        assert b"answered hello" in received


def test_with_most_descriptors_taken_the_oldest_half_request_makes_room(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as held:
        slow = [held.enter_context(served.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")) for _ in range(4)]
        until(lambda: len(served.bounded.waiting) == 0 and served.open == 4)
        monkeypatch.setattr(served.bounded, "most_connections", 6)
        half = [held.enter_context(served.connect(HALF)) for _ in range(2)]
        assert served.answers()
        assert ends(half[0])
        served.app.may_go_on.set()
        for connection in slow:
            assert connection.recv(4096)


def test_the_limit_leaves_a_quarter_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert bounded_connections().most_connections == 768


def test_no_more_connections_than_the_server_is_given() -> None:
    assert bounded_connections(100).most_connections == 100


def test_where_none_is_half_a_request_an_idle_one_makes_room(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as held:
        slow = held.enter_context(served.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
        idle = [held.enter_context(served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) for _ in range(3)]
        until(lambda: len(served.bounded.idle) == 3)
        monkeypatch.setattr(served.bounded, "most_connections", 4)
        assert served.answers()
        assert ends(idle[0])
        served.app.may_go_on.set()
        assert slow.recv(4096)


@pytest.mark.parametrize("sent", [b"", b"he"], ids=["none of it", "half of it"])
def test_a_body_counts_as_the_head_where_the_server_says_so(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(served.bounded, "waits_for_body", True)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    with served.connect(head, sent) as slow, served.connect(head, b"hello") as whole:
        assert ends(slow)
        received = b""
        while b"answered hello" not in received:
            received += whole.recv(4096)
    until(lambda: not served.bounded.waiting)


def test_a_connection_that_was_upgraded_is_no_unfinished_request(served: Served) -> None:
    head = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with served.connect(head) as live:
        assert live.recv(4096) == b"101"
        end = time.monotonic() + 2 * SECONDS
        until(lambda: time.monotonic() >= end)
        live.sendall(b"still here")
        assert live.recv(4096) == b"still here"
        assert not served.bounded.waiting
