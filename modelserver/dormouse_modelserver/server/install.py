"""Into an app that the user has: routes, honest 503s, drain at shutdown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.applications import Starlette

from ..errors import DormouseError
from ..roster import Roster
from .problems import refusal_for
from .routes import control_router, token_authority


def install_routes(roster: Roster, app: FastAPI, prefix: str) -> None:
    app.include_router(control_router(roster, prefix, token_authority()))
    answer_our_errors(app)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def draining(running: Any) -> AsyncIterator[Any]:
        async with inner(running) as state:
            try:
                yield state
            finally:
                roster.drain()

    app.router.lifespan_context = draining


def answer_our_errors(app: Starlette) -> None:
    """`WakeTimeout` and its relatives become problem+json with Retry-After, whichever route they come from."""
    app.add_exception_handler(DormouseError, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    refusal = refusal_for(error)
    if refusal is None:
        raise error
    return refusal.response()
