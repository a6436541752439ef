"""Clients of the operator's own port, which anybody in the cluster reaches."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

from ..bad import BadTenant

CONNECTIONS = 300


def readers_that_read_nothing(bad: BadTenant) -> None:
    """Half of them ask for the metrics and leave them lying, half never finish asking; closed ones come again."""
    address = urlsplit(bad.operator_url)
    open_ones: list[socket.socket] = []

    def connect(turn: int) -> None:
        with suppress(OSError):
            made = socket.create_connection((address.hostname, address.port), timeout=2)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            made.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"\r\n" if turn % 2 else b"X: "))
            open_ones.append(made)
        if len(open_ones) > CONNECTIONS:
            open_ones.pop(0).close()

    for turn in range(CONNECTIONS):
        connect(turn)
    bad.repeat(30, connect)
    bad.at_the_end(lambda: [each.close() for each in open_ones])
