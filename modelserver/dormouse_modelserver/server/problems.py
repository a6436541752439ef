"""The one place where errors become HTTP: RFC 9457 `application/problem+json`."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from dormouse_contract.printable import printable
from dormouse_contract.problems import Problem, ProblemReason
from dormouse_webkit.headers import secured
from dormouse_webkit.paths import is_plain
from dormouse_webkit.problems import problem_response, what_is_wrong
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError

from ..errors import (
    DeviceBroken,
    DeviceFull,
    ForkedProcess,
    HostFull,
    ModelBusy,
    ModelChanged,
    NoSuchModel,
    StaleOrder,
    TransitionFailed,
    WakeTimeout,
)

_log = logging.getLogger("dormouse")
_MAX_QUOTED_CHARACTERS = 200


class Refusal(Exception):
    """A request that is answered with a problem: carries all of it."""

    def __init__(
        self,
        status: int,
        reason: ProblemReason,
        title: str,
        detail: str,
        *,
        retry_after: float | None = None,
        **figures: Any,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(status=status, reason=reason, title=title, detail=detail, **figures)
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        return problem_response(self.problem.model_dump(mode="json"), retry_after_seconds=self.retry_after)


def refusal_for(error: Exception) -> Refusal | None:
    """The problem that an error of ours is; None for errors that are not ours."""
    match error:
        case Refusal():
            return error
        case NoSuchModel():
            return Refusal(404, ProblemReason.NO_SUCH_MODEL, "No such model", str(error))
        case ModelBusy():
            figures = {"inFlight": error.in_flight, "waiting": error.waiting, "idleSeconds": error.idle_seconds}
            return Refusal(409, ProblemReason.IN_USE, "The model is in use", str(error), **figures)
        case StaleOrder():
            return Refusal(409, ProblemReason.STALE_ORDER, "A newer order was here before", str(error))
        case ModelChanged():
            return Refusal(409, ProblemReason.DIRTY, "The weights were changed", str(error))
        case ValidationError():
            detail = f"{what_is_wrong(error)}. Nothing was moved"
            return Refusal(422, ProblemReason.BAD_BODY, "The body is not as the contract says", detail)
        case ForkedProcess():
            return Refusal(503, ProblemReason.CANNOT_NOW, "Not in this process", str(error))
        case DeviceBroken():
            # No Retry-After: this process never answers otherwise, and how long a restart takes is not known here.
            return Refusal(503, ProblemReason.CANNOT_NOW, "The device failed", str(error))
        case DeviceFull() | HostFull():
            figures = {"needBytes": error.need_bytes, "roomBytes": error.room_bytes}
            title = "No room for the weights"
            return _later(ProblemReason.CANNOT_NOW, title, error, error.retry_after_seconds, **figures)
        case WakeTimeout():
            return _later(ProblemReason.WAKE_TIMEOUT, "The model is not awake yet", error, error.retry_after_seconds)
        case TransitionFailed():
            return _later(ProblemReason.CANNOT_NOW, "The weights could not be moved", error, error.retry_after_seconds)
    return None


def _later(reason: ProblemReason, title: str, error: Exception, seconds: float, **figures: Any) -> Refusal:
    return Refusal(503, reason, title, str(error), retry_after=seconds, retryAfterSeconds=round(seconds, 3), **figures)


def not_found(path: str) -> Refusal:
    """path: as it was sent, or what is below the prefix of it."""
    detail = f"There is nothing at {path[:100]!r}. Read /v1/models below the prefix for the models that there are"
    return Refusal(404, ProblemReason.NOT_FOUND, "Not found", detail)


class ProblemRoute(APIRoute):
    """A route whose errors are problems, whatever app it is included in, and that answers to one spelling only."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner, segments = super().get_route_handler(), self.path.count("/")

        async def handler(request: Request) -> Response:
            if not is_plain(request.scope, segments):
                return secured(not_found(request.url.path).response())
            try:
                return secured(await inner(request))
            except Exception as error:
                refusal = refusal_for(error)
                if refusal is None:
                    path = printable(request.url.path, _MAX_QUOTED_CHARACTERS)
                    _log.exception("%s %s broke", request.method, path)
                    detail = "The request broke inside Dormouse; the weights are whole. See the server's log"
                    refusal = Refusal(500, ProblemReason.INTERNAL, "Internal error", detail)
                return secured(refusal.response())

        return handler
