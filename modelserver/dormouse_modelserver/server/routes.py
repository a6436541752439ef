"""The control routes of `CONTROL_PREFIX`: read snapshots, order a residency, lend a policy."""

import asyncio
import hmac
import os
from collections.abc import Callable

from dormouse_contract.wire import (
    MAX_BODY_BYTES,
    ModelList,
    ModelSnapshot,
    PolicyLoan,
    ProblemReason,
    ResidencyOrder,
    Wire,
)
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ..roster import Roster
from ..slot import Slot
from ..transition import Transition
from .exposition import render_metrics
from .problems import ProblemRoute, Refusal

# An order is answered 200 when it is done within this, and 202 otherwise.
_ANSWER_WITHIN_SECONDS = 1.0

# Raises `Refusal` when the caller may not change state. A client's address never counts.
Authority = Callable[[Request], None]


def anyone(request: Request) -> None:
    """For a unix socket, which only its own pod or user can open."""


def nobody(request: Request) -> None:
    raise Refusal(
        403,
        ProblemReason.NOT_AUTHORISED,
        "Read-only here",
        "This port changes no state: orders come through the control socket. Nothing was moved",
    )


def token_authority() -> Authority:
    """`Authorization: Bearer TOKEN` with the token of `DORMOUSE_PANEL_TOKEN`; without one, nobody."""
    token = os.environ.get("DORMOUSE_PANEL_TOKEN", "")
    if not token or os.environ.get("DORMOUSE_SOCKET"):
        return nobody

    def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Refusal(
                401,
                ProblemReason.NOT_AUTHORISED,
                "A token is needed",
                "Send `Authorization: Bearer` with the server's DORMOUSE_PANEL_TOKEN. Nothing was moved",
            )

    return check


def loopback_authority(hosts: frozenset[str]) -> Authority:
    """For a server that bound itself to loopback: no token, but the Host must be one of `hosts`.

    A page from elsewhere that a name was re-bound for (DNS rebinding) sends its own Host and is refused;
    a JSON body makes browsers ask first (CORS) and nothing here allows it.
    """

    def check(request: Request) -> None:
        if (request.url.hostname or "") not in hosts:
            raise Refusal(
                403,
                ProblemReason.NOT_AUTHORISED,
                "Unknown host",
                f"Host {request.url.hostname!r} is not this server; use {', '.join(sorted(hosts))}. Nothing was moved",
            )

    return check


def control_router(roster: Roster, prefix: str, authority: Authority, *, with_advice: bool = True) -> APIRouter:
    """with_advice: False where a sidecar or an operator reads, which have no use for it."""
    router = APIRouter(prefix=prefix, route_class=ProblemRoute)

    @router.get("/v1/models")
    async def list_models() -> Response:
        return _json(ModelList(models=roster.snapshots(), advice=roster.advice() if with_advice else None))

    @router.get("/v1/models/{model}")
    async def read_model(model: str) -> Response:
        return _json(roster.slot(model).snapshot())

    @router.put("/v1/models/{model}/residency")
    async def order_residency(model: str, request: Request) -> Response:
        authority(request)
        order = ResidencyOrder.model_validate_json(await _body(request))
        snapshot, settled = await _carry_out(roster.slot(model), order)
        return _json(snapshot, 200 if settled else 202)

    @router.put("/v1/models/{model}/policy")
    async def lend_policy(model: str, request: Request) -> Response:
        authority(request)
        loan = PolicyLoan.model_validate_json(await _body(request))
        slot = roster.slot(model)
        slot.lend(loan)
        return _json(slot.snapshot())

    @router.get("/metrics")
    async def read_metrics() -> Response:
        return metrics_response(roster)

    return router


def probe_router(roster: Roster) -> APIRouter:
    """`/metrics`, `/healthz` and `/readyz`. Ready is whatever takes requests: asleep, waking and full included."""
    router = APIRouter(route_class=ProblemRoute)

    @router.get("/metrics")
    async def read_metrics() -> Response:
        return metrics_response(roster)

    @router.get("/healthz")
    async def health() -> Response:
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def ready() -> Response:
        reason = roster.not_ready_because()
        if reason is not None:
            detail = f"The server is {reason}; send requests elsewhere, or wait"
            raise Refusal(503, ProblemReason.CANNOT_NOW, f"Not ready: {reason}", detail, retry_after=1.0)
        return PlainTextResponse("ok\n")

    return router


def metrics_response(roster: Roster) -> Response:
    return Response(render_metrics(roster), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _carry_out(slot: Slot[object], order: ResidencyOrder) -> tuple[ModelSnapshot, bool]:
    """Begin the move and wait a little: the snapshot, and whether the weights are there. Raises what stopped it."""
    deadline = asyncio.get_running_loop().time() + _ANSWER_WITHIN_SECONDS
    while True:
        move = slot.begin_move(
            order.desired,
            if_idle_for=order.if_idle_for_seconds,
            trigger=order.trigger,
            reason=order.reason,
            order=order.order,
        )
        if move is None:
            return slot.snapshot(), True
        if not await _settled(move, deadline):
            return slot.snapshot(), False
        error = move.settled.result()
        if move.asked is order.desired:
            if error is not None:
                raise error.with_traceback(None)
            return slot.snapshot(), True


async def _settled(move: Transition, deadline: float) -> bool:
    left = deadline - asyncio.get_running_loop().time()
    done, _ = await asyncio.wait([asyncio.wrap_future(move.settled)], timeout=max(0.0, left))
    return bool(done)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(
                413,
                ProblemReason.BODY_TOO_LARGE,
                "The body is too large",
                f"A control body has at most {MAX_BODY_BYTES} bytes. Nothing was moved",
            )
    return bytes(body)


def _json(body: Wire, status: int = 200) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json", by_alias=True), status)
