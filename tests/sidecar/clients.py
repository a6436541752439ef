"""The other side of both ports: an operator with a certificate, and raw connections that misbehave."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

from .certificates import Credential, anonymous_context

POD_UID = "0d6a3f5e-6a0e-4b8e-9a3c-0f4f3f1f2a11"
RESIDENCY = "/dormouse/v1/models/tts/residency"
POLICY = "/dormouse/v1/models/tts/policy"
MODELS = "/dormouse/v1/models"


def order(**changes: Any) -> dict[str, Any]:
    """A whole, valid order for this pod; `None` leaves a field out."""
    body: dict[str, Any] = {
        "desired": "CPU",
        "trigger": "Idle",
        "reason": "idle 612 s",
        "ifIdleForSeconds": 600,
        "order": {"owner": "5f0c", "generation": 3, "issuer": "lease", "term": 1},
        "podUID": POD_UID,
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def loan(**changes: Any) -> dict[str, Any]:
    kept = order()
    body = {"keepAliveSeconds": 0, "validForSeconds": 3600, "order": kept["order"], "podUID": POD_UID}
    return {name: value for name, value in (body | changes).items() if value is not None}


async def ask(
    port: int,
    credential: Credential | ssl.SSLContext | None,
    method: str = "GET",
    path: str = MODELS,
    **arguments: Any,
) -> httpx.Response:
    """One request on the control port, on a connection of its own."""
    context = credential.client_context() if isinstance(credential, Credential) else credential
    async with httpx.AsyncClient(verify=context or anonymous_context(), trust_env=False, timeout=20) as client:
        return await client.request(method, f"https://127.0.0.1:{port}{path}", **arguments)


async def look(port: int, path: str, method: str = "GET") -> httpx.Response:
    """One request on the plain port."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.request(method, f"http://127.0.0.1:{port}{path}")


@contextlib.asynccontextmanager
async def connected(
    port: int, credential: Credential | None = None, local: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection; TLS with a credential."""
    context = None if credential is None else credential.client_context()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(local, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def seconds_until_cut_off(reader: asyncio.StreamReader) -> float:
    """How long the other side keeps this connection; whatever it still says is read."""
    start = time.monotonic()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(20):
            await reader.read(-1)
    return time.monotonic() - start


def metric(text: str, name: str) -> float:
    """The value of the one sample with this name."""
    (line,) = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    return float(line.rsplit(" ", 1)[1])
