"""Whoever connects and says nothing, half of it or too slowly keeps nobody else from the page, nor the kubelet."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from localcluster import Process
from localcluster.ports import reserve_port
from tests.waiting import eventually

CROWD = 600
HEAD = b"POST /api/models/speech/tts/change HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer x\r\n"
BODY = HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
CROWDS = {
    "say nothing": b"",
    "say half": HEAD,
    "send half a body": BODY,
    "asked and stay": b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n",
}


@dataclass(frozen=True, slots=True)
class Console:
    port: int
    health_port: int

    def page(self) -> int:
        return httpx.get(f"http://127.0.0.1:{self.port}/", trust_env=False, timeout=5).status_code

    def health(self) -> tuple[int, str]:
        answer = httpx.get(f"http://127.0.0.1:{self.health_port}/healthz", trust_env=False, timeout=5)
        return answer.status_code, answer.text


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(reserve_port(), reserve_port())
    command = [sys.executable, "-m", "dormouse_console.cli", f"--port={made.port}"]
    command += [f"--health-port={made.health_port}", "--api-server=https://127.0.0.1:9"]

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return made.health()[0] == made.page() == 200
        return False

    with Process("console", command, directory=tmp_path, environment={}) as process:
        process.wait_until(answers, deadline_seconds=60, what="answering")
        yield made


@contextlib.contextmanager
def crowd(port: int, said: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as held:
        made = []
        for _ in range(CROWD):
            made.append(held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)))
            with contextlib.suppress(ConnectionError):
                made[-1].sendall(said)
        yield made


@pytest.mark.parametrize("said", CROWDS.values(), ids=CROWDS.keys())
def test_a_crowd_keeps_nobody_from_the_page_and_not_the_kubelet(console: Console, said: bytes) -> None:
    with crowd(console.port, said) as held:
        began = time.monotonic()
        assert console.page() == 200
        assert console.health() == (200, "ok\n")
        assert time.monotonic() - began < 4
        if said == BODY:
            eventually("half a body is waited for 10 s", lambda: all(map(has_ended, held)), deadline_seconds=20)
        assert console.page() == 200


def test_a_crowd_at_the_health_port_keeps_the_kubelet_not_out(console: Console) -> None:
    with crowd(console.health_port, b""):
        assert console.health() == (200, "ok\n")
        assert console.page() == 200


def test_the_health_port_has_nothing_else(console: Console) -> None:
    url = f"http://127.0.0.1:{console.health_port}"
    for path in ("/", "/api/fleet", "/page/app.js"):
        assert httpx.get(url + path, trust_env=False).status_code == 404
    assert httpx.post(f"{url}/healthz", trust_env=False).status_code == 404


def has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
