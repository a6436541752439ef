"""Into an app that the user has: routes and page, honest 503s, drain at shutdown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.applications import Starlette

from ..errors import DormouseError
from ..lifecycle.registry import Registry
from .authority import token_authority
from .panel.routes import panel_router
from .panel.watch import Watch
from .problems import refusal_for


def install_routes(registry: Registry, app: FastAPI, prefix: str) -> None:
    authority = token_authority()
    watch = Watch(registry, authority.access)
    _include_first(app, panel_router(registry, prefix, authority, watch))
    answer_our_errors(app)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def draining(running: Any) -> AsyncIterator[Any]:
        watch.start()
        async with inner(running) as state:
            try:
                yield state
            finally:
                registry.drain()
                watch.close()

    app.router.lifespan_context = draining


def _include_first(app: FastAPI, router: APIRouter) -> None:
    """Before what the app has already: one mounted at its root (Gradio's way) would take every path."""
    routes = app.router.routes
    before = len(routes)
    app.include_router(router)
    ours = routes[before:]
    del routes[before:]
    routes[:0] = ours


def answer_our_errors(app: Starlette) -> None:
    """`WakeTimeout` and its relatives become problem+json with Retry-After, whichever route they come from."""
    app.add_exception_handler(DormouseError, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    refusal = refusal_for(error)
    if refusal is None:
        raise error
    return refusal.response()
