"""The control routes of `CONTROL_PREFIX`: read snapshots, order a residency, lend a policy."""

import asyncio

from dormouse_contract.problems import ProblemReason
from dormouse_contract.wire import MAX_BODY_BYTES, ModelList, ModelSnapshot, PolicyLoan, ResidencyOrder, Wire
from dormouse_webkit.bodies import BodyTooLarge, read_body
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.requests import ClientDisconnect

from ..lifecycle import background
from ..lifecycle.device import check_works
from ..lifecycle.registry import Registry
from ..lifecycle.slot import Slot
from ..lifecycle.transition import Transition
from .authority import Authority, anyone
from .openapi import control_api_json
from .problems import ProblemRoute, Refusal
from .shared_answer import SharedAnswer
from .shared_metrics import metrics_of
from .unmatched import answer_the_rest

# An order is answered 200 when it is done within this, and 202 otherwise.
_ANSWER_WITHIN_SECONDS = 1.0


def control_router(registry: Registry, prefix: str, authority: Authority, *, with_advice: bool = True) -> APIRouter:
    """The contract's routes, and problems for all else below the prefix.

    with_advice: False where a sidecar or an operator reads, which have no use for it.
    """
    router = APIRouter(prefix=prefix, route_class=ProblemRoute)
    add_control_routes(router, registry, authority, with_advice=with_advice)
    answer_the_rest(router)
    return router


def add_control_routes(
    router: APIRouter, registry: Registry, authority: Authority, *, with_advice: bool = True
) -> None:
    advice = SharedAnswer("advice", registry.advice)

    @router.get("/v1/models")
    async def list_models(request: Request) -> Response:
        authority.may_read(request)
        advised = await advice.get() if with_advice else None
        return as_json(ModelList(models=registry.snapshots(), advice=advised))

    @router.get("/v1/openapi.json")
    async def describe(request: Request) -> Response:
        authority.may_read(request)
        described = control_api_json(request.url.path.removesuffix("/v1/openapi.json"))
        return Response(described, media_type="application/json")

    @router.get("/v1/models/{model}")
    async def read_model(model: str, request: Request) -> Response:
        authority.may_read(request)
        return as_json(registry.slot(model).view.snapshot())

    @router.put("/v1/models/{model}/residency")
    async def order_residency(model: str, request: Request) -> Response:
        authority.may_change(request)
        order = ResidencyOrder.from_json(await control_body(request))
        snapshot, settled = await _carry_out(registry.slot(model), order)
        return as_json(snapshot, 200 if settled else 202)

    @router.put("/v1/models/{model}/policy")
    async def lend_policy(model: str, request: Request) -> Response:
        authority.may_change(request)
        loan = PolicyLoan.from_json(await control_body(request))
        slot = registry.slot(model)
        slot.lend(loan)
        return as_json(slot.view.snapshot())

    _add_probes(router, registry, authority)


def probe_router(registry: Registry, authority: Authority = anyone) -> APIRouter:
    """`/metrics`, `/healthz` and `/readyz` without a prefix."""
    router = APIRouter(route_class=ProblemRoute)
    _add_probes(router, registry, authority)
    return router


def _add_probes(router: APIRouter, registry: Registry, authority: Authority) -> None:
    """Healthy is whatever a restart would not help; ready is whatever takes requests: asleep, waking, full included."""
    exposition = metrics_of(registry)

    @router.get("/metrics")
    async def read_metrics(request: Request) -> Response:
        authority.may_read(request)
        return Response(await exposition.get(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/healthz")
    async def health() -> Response:
        check_works(registry.device)
        problems = background.problems()
        if problems:
            detail = f"{'; '.join(problems)}. Models may not sleep; requests are answered. Restart the process"
            raise Refusal(503, ProblemReason.CANNOT_NOW, "A background thread fails", detail)
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def ready() -> Response:
        check_works(registry.device)
        reason = registry.not_ready_because()
        if reason is not None:
            raise Refusal(503, ProblemReason.CANNOT_NOW, reason.heading, reason.sentence, retry_after=1.0)
        return PlainTextResponse("ok\n")


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
            return slot.view.snapshot(), True
        if not await _settled(move, deadline):
            return slot.view.snapshot(), False
        error = move.settled.result()
        if move.asked is order.desired:
            if error is not None:
                raise error.with_traceback(None)
            return slot.view.snapshot(), True


async def _settled(move: Transition, deadline: float) -> bool:
    left = deadline - asyncio.get_running_loop().time()
    done, _ = await asyncio.wait([asyncio.wrap_future(move.settled)], timeout=max(0.0, left))
    return bool(done)


async def control_body(request: Request) -> bytes:
    try:
        return await read_body(request, MAX_BODY_BYTES)
    except BodyTooLarge:
        detail = f"A control body has at most {MAX_BODY_BYTES} bytes. Nothing was moved"
        raise Refusal(413, ProblemReason.BODY_TOO_LARGE, "The body is too large", detail) from None
    except ClientDisconnect:  # nobody is there to hear it, and it is no fault of ours to log
        raise Refusal(400, ProblemReason.BAD_BODY, "The body ended early", "Nothing was moved") from None


def as_json(body: Wire, status: int = 200) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json", by_alias=True), status)
