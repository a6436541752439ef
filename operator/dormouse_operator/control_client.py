"""The mTLS client: what the operator says to a replica.

One connection per call, as the sidecar closes it after each. Whatever goes wrong is an outcome and not an
exception, since the reconcile loop treats a refusal, a dead pod and a missing trust as three more facts.
"""

import asyncio
import ssl
from typing import TypeVar

import httpx
from dormouse_contract.ports import Port
from dormouse_contract.printable import printable
from dormouse_contract.problems import ProblemReason, ProblemReport
from dormouse_contract.wire import CONTROL_PREFIX, ModelReport, ModelReports, PolicyLoan, ResidencyOrder, Wire
from pydantic import ValidationError

from .one_connection import OneConnectionPerCall
from .orders import Answer, Outcome

CALL_TIMEOUT_SECONDS = 15.0
HTTP_TIMEOUT = httpx.Timeout(connect=3.0, read=10.0, write=5.0, pool=10.0)
HEALTH_TIMEOUT_SECONDS = 2.0
# A snapshot is about 1 KB, and no more than 128 models of a pod are managed.
MAX_ANSWER_BYTES = 384 << 10
# With its head, and in whatever chunks.
MAX_WIRE_BYTES = MAX_ANSWER_BYTES + (64 << 10)
MAX_DETAIL_CHARACTERS = 512
# A pod that asks for more rest than this is called again all the same; one that asks for none gets some.
MIN_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS = 1.0, 300.0

_REFUSALS: dict[str, Outcome] = {
    ProblemReason.NO_SUCH_MODEL: Outcome.NO_SUCH_MODEL,
    ProblemReason.IN_USE: Outcome.IN_USE,
    ProblemReason.STALE_ORDER: Outcome.STALE_ORDER,
    ProblemReason.DIRTY: Outcome.DIRTY,
    ProblemReason.WRONG_POD: Outcome.WRONG_POD,
    ProblemReason.BAD_BODY: Outcome.BAD_BODY,
    ProblemReason.CANNOT_NOW: Outcome.CANNOT_NOW,
    ProblemReason.WAKE_TIMEOUT: Outcome.CANNOT_NOW,
    ProblemReason.MODEL_PROCESS_DOWN: Outcome.CANNOT_NOW,
}
_STATUSES = {
    404: Outcome.NO_SUCH_MODEL,
    421: Outcome.WRONG_POD,
    422: Outcome.BAD_BODY,
    502: Outcome.CANNOT_NOW,
    503: Outcome.CANNOT_NOW,
    504: Outcome.CANNOT_NOW,
}

# Nothing is kept alive: a connection could outlive the pod that it was made to. Uncompressed, so that the limit on an
# answer is the limit.
_HEADERS = {"Connection": "close", "User-Agent": "dormouse-operator", "Accept-Encoding": "identity"}

_Body = TypeVar("_Body", bound=Wire)


class _Line:
    """A transport with one certificate; replaced by another, it is closed when its last call has ended.

    No httpx client around it: what that adds (redirects, cookies, credentials) is not wanted, and took a fifth of a
    call's time.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self._calls = 0
        self._is_replaced = False

    async def __aenter__(self) -> httpx.AsyncBaseTransport:
        self._calls += 1
        return self.transport

    async def __aexit__(self, *ended: object) -> None:
        self._calls -= 1
        await self._close_if_done()

    async def replace(self) -> None:
        self._is_replaced = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._is_replaced and not self._calls:
            await self.transport.aclose()


class ControlClient:
    """Calls the control port of pods. `transport` replaces the network in tests of faults."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        control_port: int,
        health_port: int = Port.SIDECAR,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._control_port = control_port
        self._health_port = health_port
        self._transport = transport
        self._line = self._dial(tls)

    async def use(self, tls: ssl.SSLContext) -> None:
        """For every call from now on; calls under way end as they began."""
        before, self._line = self._line, self._dial(tls)
        await before.replace()

    async def close(self) -> None:
        await self._line.transport.aclose()

    def _dial(self, tls: ssl.SSLContext) -> _Line:
        return _Line(self._transport or OneConnectionPerCall(tls, MAX_WIRE_BYTES))

    async def list_models(self, ip: str) -> Answer:
        return await self._call("GET", ip, "/models", None, ModelReports)

    async def order(self, ip: str, model: str, order: ResidencyOrder) -> Answer:
        return await self._call("PUT", ip, f"/models/{model}/residency", order.to_json(), ModelReport)

    async def lend(self, ip: str, model: str, loan: PolicyLoan) -> Answer:
        return await self._call("PUT", ip, f"/models/{model}/policy", loan.to_json(), None)

    async def _call(self, method: str, ip: str, path: str, body: str | None, expected: type[Wire] | None) -> Answer:
        url = f"https://{_host(ip)}:{self._control_port}{CONTROL_PREFIX}{path}"
        async with self._line as transport:
            try:
                async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                    response = await _read_whole(transport, _request(method, url, body))
            except httpx.DecodingError as error:
                return Answer(Outcome.UNEXPECTED, str(error))
            except (httpx.HTTPError, ssl.SSLError, OSError, TimeoutError) as error:
                # It may quote what the peer sent instead of HTTP.
                words = printable(str(error).strip() or type(error).__name__, MAX_DETAIL_CHARACTERS)
                return await self._conclude(transport, ip, words)
        return _read(response, expected)

    async def _conclude(self, transport: httpx.AsyncBaseTransport, ip: str, error: str) -> Answer:
        """A foreign certificate and a dead sidecar look the same on the control port: ask the plain one."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_SECONDS):
                url = f"http://{_host(ip)}:{self._health_port}/healthz"
                alive = (await _read_whole(transport, _request("GET", url, None))).is_success
        except (httpx.HTTPError, OSError, TimeoutError):
            alive = False
        if alive:
            return Answer(Outcome.UNTRUSTED, f"the sidecar is alive and refuses the operator ({error})")
        return Answer(Outcome.UNREACHABLE, error)


def _request(method: str, url: str, body: str | None) -> httpx.Request:
    headers = _HEADERS if body is None else _HEADERS | {"Content-Type": "application/json"}
    return httpx.Request(method, url, headers=headers, content=body, extensions={"timeout": HTTP_TIMEOUT.as_dict()})


async def _read_whole(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.Response:
    """A pod may send what it likes; more than an answer can have is not read."""
    response = await transport.handle_async_request(request)
    try:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx.DecodingError("its answer is compressed, which was not asked for")
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise httpx.DecodingError(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
    finally:
        await response.aclose()
    return httpx.Response(response.status_code, headers=_without_transfer(response.headers), content=bytes(content))


def _without_transfer(headers: httpx.Headers) -> httpx.Headers:
    """The content is complete by now, whatever way it came. As bytes: a pod need not write ASCII there."""
    return httpx.Headers([(name, value) for name, value in headers.raw if name.lower() != b"transfer-encoding"])


def _read(response: httpx.Response, expected: type[Wire] | None) -> Answer:
    if response.is_success:
        outcome = Outcome.UNDER_WAY if response.status_code == 202 else Outcome.DONE
        if expected is None:
            return Answer(outcome)
        parsed = _parse(response, expected)
        if isinstance(parsed, ModelReports):
            return Answer(outcome, snapshots=tuple(parsed.models), ignored=parsed.ignored)
        if isinstance(parsed, ModelReport):
            return Answer(outcome, snapshots=(parsed,))
        # It did what was asked, in words of another version; the signal will show it.
        return Answer(outcome, "the replica's answer is of another version")
    problem = _parse(response, ProblemReport)
    status = response.status_code
    outcome = _STATUSES.get(status, Outcome.UNEXPECTED)
    detail = f"HTTP {status}"
    if problem is not None:
        outcome = _REFUSALS.get(problem.reason, outcome)
        detail = problem.detail or problem.title or detail
    return Answer(outcome, printable(detail, MAX_DETAIL_CHARACTERS), retry_after_seconds=_retry_after(response))


def _parse(response: httpx.Response, kind: type[_Body]) -> _Body | None:
    try:
        return kind.from_json(response.content)
    except ValidationError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return None
    return min(max(float(text[:9]), MIN_RETRY_AFTER_SECONDS), MAX_RETRY_AFTER_SECONDS)


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
