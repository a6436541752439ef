"""Everything hostile at once against the command as it runs in a pod: state unchanged, memory flat, orders work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx

from tests.waiting import auntil

from .certificates import Credential, anonymous_context, make_credential
from .clients import MODELS, POD_UID, RESIDENCY, ask, connected, look, order
from .model_process import ModelProcess
from .mounted_trust import MountedTrust
from .test_the_command import Command, command  # noqa: F401 - a fixture

CONNECTIONS = 1500
MEBIBYTE = 1 << 20


async def _shut_out(port: int, context: ssl.SSLContext, content: bytes, local: str) -> None:
    """A TLS client with that certificate, or none, that says something anyhow."""
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(local, 0))
            writer.write(content)
            await reader.read(-1)
            writer.transport.abort()


async def _says(port: int, content: bytes, local: str) -> None:
    with contextlib.suppress(OSError):
        async with connected(port, local=local) as (_, writer):
            writer.write(content)
            await writer.drain()


async def test_bad_connections_by_the_thousand_change_nothing_and_leave_nothing(
    command: Command,  # noqa: F811
    model_process: ModelProcess,
    trust: MountedTrust,
    operator: Credential,
) -> None:
    trust.publish(operator)
    await auntil(lambda: " is open" in command.log)
    control, plain = command.port("the control port"), command.port("metrics and health on")
    body = json.dumps(order()).encode()
    whole = b"PUT %b HTTP/1.1\r\nHost: pod\r\nContent-Length: %d\r\n\r\n%b" % (RESIDENCY.encode(), len(body), body)
    flood = b"GET /metrics HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 100) for n in range(600))
    strangers = [
        anonymous_context(),
        make_credential("operator").client_context(),
        make_credential("operator", valid_for=-timedelta(hours=1)).client_context(),
    ]

    async def crowd(size: int) -> None:
        for start in range(0, size, 50):
            numbers = range(start, min(start + 50, size))
            kinds = (
                lambda n, at: _shut_out(control, strangers[n % 3], whole, at),
                lambda n, at: _says(control, whole, at),  # plain HTTP on the TLS port
                lambda n, at: _says(plain, whole, at),  # an order where none are taken
                lambda n, at: _says(plain, flood, at),
                lambda n, at: _says(control, b"\x16\x03\x01" + bytes(200), at),
            )
            await asyncio.gather(*(kinds[n % 5](n // 5, f"127.0.7.{1 + n % 250}") for n in numbers))

    # Whatever is made for the first time is made before it is measured.
    await crowd(250)
    assert (await ask(control, operator, path=MODELS)).status_code == 200
    before, reached = command.rss_bytes, len(model_process.orders)
    attack = asyncio.create_task(crowd(CONNECTIONS))
    while not attack.done():  # the operator is heard in the middle of it
        assert (await ask(control, operator, path=MODELS)).status_code == 200
        await asyncio.wait([attack], timeout=0.5)
    await attack
    assert command.rss_bytes - before < 8 * MEBIBYTE
    assert len(model_process.orders) == reached
    assert (await ask(control, operator, "PUT", RESIDENCY, json=order())).status_code == 202
    assert (await look(plain, "/healthz")).status_code == 200


async def test_a_body_of_100_mb_is_never_held(
    command: Command,  # noqa: F811
    model_process: ModelProcess,
    trust: MountedTrust,
    operator: Credential,
) -> None:
    trust.publish(operator)
    await auntil(lambda: " is open" in command.log)
    control = command.port("the control port")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * MEBIBYTE

    # It may be cut off in the middle of what nobody wants to read.
    json_type = {"content-type": "application/json"}
    assert (await ask(control, operator, path=MODELS)).status_code == 200
    before = command.rss_bytes
    with contextlib.suppress(httpx.TransportError):
        answer = await ask(control, operator, "PUT", RESIDENCY, content=pieces(), headers=json_type)
        assert answer.status_code == 413
    assert command.rss_bytes - before < 8 * MEBIBYTE
    assert not model_process.orders
    assert (await ask(control, operator, "PUT", RESIDENCY, json=order(podUID=POD_UID))).status_code == 202
