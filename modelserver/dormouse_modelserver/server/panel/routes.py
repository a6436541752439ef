"""The page, its files, its state, live or asked for, and the orders that only it gives: the pin, the end of a use."""

from collections.abc import AsyncIterator
from typing import Any

from dormouse_contract.problems import ProblemReason
from dormouse_webkit.pages import page_of
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ...lifecycle.registry import Registry
from ..authority import Authority
from ..problems import ProblemRoute, Refusal
from ..routes import add_control_routes, as_json, control_body
from ..unmatched import answer_the_rest
from .state import PinOrder
from .subscription import REPLACED, Subscription, client_of
from .watch import Watch

# Shorter than the idle timeout of any proxy in between, so that a silent stream is not taken for a dead one.
_HEARTBEAT_SECONDS = 10.0
# Two pages that take each other's place at once would do nothing else.
_AGAIN_AFTER_REPLACED_MS = 30_000


def panel_router(registry: Registry, prefix: str, authority: Authority, watch: Watch) -> APIRouter:
    """The contract's routes and the page at `prefix/`. All its links are relative: it works wherever it is."""
    router = APIRouter(prefix=prefix, route_class=ProblemRoute)
    add_control_routes(router, registry, authority)
    _add_page(router, prefix, authority)
    _add_state(router, authority, watch)

    @router.put("/v1/models/{model}/pin")
    async def pin(model: str, request: Request) -> Response:
        authority.may_change(request)
        order = PinOrder.from_json(await control_body(request))
        slot = registry.slot(model)
        slot.pin_by_hand(order.pinned)
        return as_json(slot.view.snapshot())

    @router.delete("/v1/models/{model}/uses/{number:int}")
    async def end_use(model: str, number: int, request: Request) -> Response:
        """Count it no longer: a person knows that nothing works with the model there. Ended already: the same."""
        authority.may_change(request)
        slot = registry.slot(model)
        slot.end_by_hand(number)
        return as_json(slot.view.snapshot())

    @router.get("/v1/authority")
    async def try_token(request: Request) -> Response:
        """204 for who may change state: the page asks before it takes a token for good."""
        authority.may_change(request)
        return Response(status_code=204)

    answer_the_rest(router)
    return router


def _add_page(router: APIRouter, prefix: str, authority: Authority) -> None:
    @router.get("", include_in_schema=False)
    async def with_slash(request: Request) -> Response:
        return RedirectResponse(prefix.rpartition("/")[2] + "/", 308)

    @router.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        authority.may_read(request)
        return page_of(__package__).index(request)

    @router.get("/panel/{name}", include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        authority.may_read(request)
        found = page_of(__package__).file(name)
        if found is None:
            raise Refusal(404, ProblemReason.NOT_FOUND, "Not found", f"The page has no file {name!r}")
        return found.response(request)


def _add_state(router: APIRouter, authority: Authority, watch: Watch) -> None:
    @router.get("/v1/panel")
    async def state(request: Request) -> Response:
        authority.may_read(request)
        watch.start()
        return Response(await watch.state.get(), media_type="application/json")

    @router.get("/v1/gpu-memory")
    async def memory(request: Request) -> Response:
        authority.may_read(request)
        watch.start()
        return Response(await watch.history.get(), media_type="application/json")

    @router.get("/v1/events")
    async def events(request: Request) -> Response:
        authority.may_watch(request)
        page = watch.subscribe(client_of(request.client.host if request.client else None))
        if page is None:
            detail = "The server is stopping; ask /v1/panel every few seconds instead"
            raise Refusal(503, ProblemReason.CANNOT_NOW, "No live stream is free", detail, retry_after=30.0)
        # A proxy that collects a response before it passes it on would make the stream useless.
        headers = {"X-Accel-Buffering": "no"}
        return _Stream(page, watch, media_type="text/event-stream", headers=headers)


class _Stream(StreamingResponse):
    """Gives its place back however it ends, also when the page left before the first byte."""

    def __init__(self, page: Subscription, watch: Watch, **more: Any) -> None:
        super().__init__(_events(page), **more)
        self._page, self._watch = page, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watch.unsubscribe(self._page)


async def _events(page: Subscription) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    while (waiting := await page.next(_HEARTBEAT_SECONDS)) is not None:
        if REPLACED in waiting:
            yield f"retry: {_AGAIN_AFTER_REPLACED_MS}\n"
        for event, data in waiting.items():
            yield f"event: {event}\ndata: {data}\n\n"
        if not waiting:
            yield ": still here\n\n"
