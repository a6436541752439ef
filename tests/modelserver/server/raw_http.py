"""Requests as no client library would send them, over a socket."""

import socket
from contextlib import closing
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: bytes


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def ask(port: int, target: str, method: str = "GET", body: bytes = b"") -> Answered:
    """Sends the target byte by byte as it is written, and reads to the end."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with closing(connect(port)) as connection:
        connection.sendall(head.encode("latin-1") + body)
        received = b""
        while data := connection.recv(65536):
            received += data
    first, _, rest = received.partition(b"\r\n")
    return Answered(int(first.split()[1]), rest.partition(b"\r\n\r\n")[2])
