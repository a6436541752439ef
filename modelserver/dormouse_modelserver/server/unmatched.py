"""The last word under the prefix: what no route answers is a problem too, with the methods that there are.

Without it the app that the routes are included in would answer, in its own words and form.
"""

import re
from collections.abc import Iterable, Iterator

from dormouse_contract.problems import ProblemReason
from dormouse_webkit.headers import secured
from dormouse_webkit.paths import is_plain
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, compile_path
from starlette.types import Receive, Scope, Send

from .problems import Refusal, not_found

_Known = tuple[re.Pattern[str], frozenset[str]]


def answer_the_rest(router: APIRouter) -> None:
    """404 and 405 for whatever the router's routes so far don't take. Add it last."""
    known = tuple(_below(router.routes, router.prefix))
    router.routes.append(Route(router.prefix + "/{rest:path}", _Rest(router.prefix, known), include_in_schema=False))


class _Rest:
    """An ASGI app rather than a function: a route to one takes every method."""

    def __init__(self, prefix: str, known: tuple[_Known, ...]) -> None:
        self._prefix, self._known = prefix, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = secured(self._answer(Request(scope, receive)))
        await response(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = "/" + request.path_params.get("rest", "")
        allowed = {method for pattern, methods in self._known if pattern.match(path) for method in methods}
        if not allowed or not is_plain(request.scope, (self._prefix + path).count("/")):
            return not_found(path).response()
        listed = ", ".join(sorted(allowed))
        detail = f"{request.method} is not possible there, only {listed}. Nothing was moved"
        response = Refusal(405, ProblemReason.NOT_FOUND, "Method not allowed", detail).response()
        response.headers["Allow"] = listed
        return response


def _below(routes: Iterable[BaseRoute], prefix: str) -> Iterator[_Known]:
    """The routes as they look below the prefix: where the router is included may lengthen it."""
    for route in routes:
        if isinstance(route, Route):
            pattern, _, _ = compile_path(route.path.removeprefix(prefix))
            yield pattern, frozenset(route.methods or ())
