"""Whoever connects to the webhook and asks nothing, or too slowly, keeps the API server from nothing."""

import contextlib
import socket
import ssl
import time

import pytest

from .test_admission import Webhook, running

__all__ = ["running"]
CROWD = 400
BODY = b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


def connected(webhook: Webhook, *, tls: bool = True) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", int(webhook.url.rpartition(":")[2])), timeout=20)
    if not tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


@pytest.mark.parametrize(
    ("tls", "said", "answer"),
    [
        pytest.param(False, b"", b"", id="no handshake"),
        pytest.param(True, b"", b"", id="nothing"),
        pytest.param(True, b"GET /healthz HTTP/1.1\r\nX: ", b"", id="half a head"),
        pytest.param(True, BODY, b"HTTP/1.1 408", id="half a body"),
    ],
)
def test_a_connection_without_a_whole_request_ends(running: Webhook, tls: bool, said: bytes, answer: bytes) -> None:
    with connected(running, tls=tls) as slow:
        began = time.monotonic()
        if said:
            slow.sendall(said)
        slow.settimeout(2)
        received = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while time.monotonic() - began < 15:
                with contextlib.suppress(TimeoutError):
                    part = slow.recv(4096)
                    if not part:
                        break
                    received += part
                    if answer:
                        break
        assert received.startswith(answer)
        assert time.monotonic() - began < 12


def test_a_connection_that_asks_is_kept_for_the_next_review(running: Webhook) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(running) as kept:
        began = time.monotonic()
        while time.monotonic() - began < 7:
            kept.sendall(ask)
            assert kept.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)  # the pace of the reviews, nothing is waited for


def test_a_crowd_keeps_the_api_server_not_out(running: Webhook) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(CROWD):
            held.enter_context(connected(running))
        began = time.monotonic()
        with connected(running) as honest:
            honest.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert honest.recv(4096).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 3
