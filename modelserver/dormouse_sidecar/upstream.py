"""The model process, on the other side of the unix socket.

Each call is a connection of its own: connecting to a socket of the same pod costs next to nothing, and a
model process that was restarted, with a new socket under the same path, is reached at once. What it
answers is limited in size and time, since it runs the user's code.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx
from dormouse_contract.duplicate_keys import fault_of_keys
from dormouse_contract.printable import printable

from .errors import ModelProcessDown, UnusableAnswer
from .throttled_log import ThrottledWarning

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 1.0
_MAX_QUOTED_CHARACTERS = 200
_UNKNOWN_OUTCOME = "The order may or may not have been carried out; it is safe to send it again."


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def has_json(self, *media_types: str) -> bool:
        """Whether it says that it is one of these, and is JSON as the standard has it: no NaN, and each key once."""
        if self.media_type not in media_types:
            return False
        try:
            json.loads(self.body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return False
        return not fault_of_keys(self.body)


class ModelProcess:
    """Asks the model process. Usable by any number of tasks; `aclose` at the end."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        # No TLS on a unix socket: an empty context saves loading the public certificate authorities.
        transport = httpx.AsyncHTTPTransport(
            uds=str(socket_path),
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        # Reading and writing end with `ask`'s own limit, which covers the whole call.
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        self._client = httpx.AsyncClient(transport=transport, trust_env=False, timeout=timeout)
        self._warn = ThrottledWarning(_log)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: bytes | None = None, *, seconds: float, max_bytes: int) -> Answer:
        """Raises ModelProcessDown when nothing answers in time, UnusableAnswer for more than `max_bytes`."""
        request = self._client.build_request(
            method,
            f"http://model{path}",
            content=body,
            headers={
                "accept": "application/json, text/plain",
                "accept-encoding": "identity",
                **({} if body is None else {"content-type": "application/json"}),
            },
        )
        try:
            async with asyncio.timeout(seconds):
                return await self._send(request, max_bytes)
        except (httpx.TransportError, TimeoutError) as error:
            cause = "it took too long" if isinstance(error, TimeoutError) else _words_of(error)
            self._warn("the model process does not answer on %s: %s", self._socket_path, cause)
            known = method == "GET" or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise ModelProcessDown(
                f"The model process does not answer on its socket: {cause}. "
                + ("Nothing was changed; try again." if known else _UNKNOWN_OUTCOME)
            ) from error

    async def _send(self, request: httpx.Request, max_bytes: int) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise UnusableAnswer(
                        f"The model process answered with more than {max_bytes} bytes, so the answer was "
                        "dropped. Its log may say why."
                    )
        finally:
            await response.aclose()
        return Answer(response.status_code, bytes(body), dict(response.headers))


def _words_of(error: Exception) -> str:
    """They may quote what came instead of HTTP."""
    return printable(str(error).strip() or "it hung up", _MAX_QUOTED_CHARACTERS)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
