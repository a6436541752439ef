"""The console's HTTP side: the page's files for everybody, and everything else as who asks."""

import logging
import time
from importlib.metadata import version
from typing import Annotated, Any

from dormouse_contract.duplicate_keys import fault_of_keys
from dormouse_contract.managed_model import managed_model
from dormouse_contract.timestamps import from_rfc3339_or_none
from dormouse_webkit.bodies import BodyTooLarge, read_body
from dormouse_webkit.headers import Secured
from dormouse_webkit.pages import page_of
from dormouse_webkit.paths import is_plain
from dormouse_webkit.problems import problem_response, what_is_wrong
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from . import views
from .callers import Callers
from .changes import Change, has_no_effect_because, patch_for
from .errors import BadRequest, Refused
from .managed import PATH, details
from .names import namespace_name, object_name
from .timeseries import TimeSeries

_log = logging.getLogger("dormouse.console")
MOST_BODY_BYTES = 4096
Chosen = Annotated[str, Query(alias="range")]


class ChangeOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    change: Change
    until: str | None = None
    """RFC 3339, with a pin only."""


def create_app(callers: Callers, prometheus: TimeSeries) -> FastAPI:
    spelling = [Depends(_spelled_plainly)]
    app = FastAPI(title="Dormouse console", openapi_url=None, docs_url=None, redoc_url=None, dependencies=spelling)
    app.add_middleware(Secured)
    _add_page(app)
    _add_views(app, callers, prometheus)
    _add_changes(app, callers)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(Exception, _broken)
    return app


async def _spelled_plainly(request: Request) -> None:
    if not is_plain(request.scope, request.scope["path"].count("/")):
        raise Refused(404, "Not found", "The console's addresses have nothing in them that is encoded")


def _add_page(app: FastAPI) -> None:
    @app.get("/")
    async def page(request: Request) -> Response:
        return page_of(__package__).index(request)

    @app.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        found = page_of(__package__).file(name)
        if found is None:
            raise Refused(404, "Not found", f"The page has no file {name[:80]!r}")
        return found.response(request)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")


def _add_views(app: FastAPI, callers: Callers, prometheus: TimeSeries) -> None:
    @app.get("/api/session")
    async def session(request: Request) -> dict[str, Any]:
        user = await callers.of(request).user()
        return {
            "user": user,
            "local": callers.local,
            "prometheus": prometheus.configured,
            "version": version("dormouse"),
        }

    @app.get("/api/fleet")
    async def fleet(request: Request, namespace: str | None = None) -> Response:
        return JSONResponse(await views.fleet(callers.of(request), prometheus, namespace))

    @app.get("/api/savings")
    async def savings(request: Request, chosen: Chosen = "1h", namespace: str | None = None) -> Response:
        return JSONResponse(await views.savings(callers.of(request), prometheus, namespace, chosen))

    @app.get("/api/models/{namespace}/{name}")
    async def model(request: Request, namespace: str, name: str) -> Response:
        return JSONResponse(await views.model(callers.of(request), namespace, name))

    @app.get("/api/models/{namespace}/{name}/replicas")
    async def replicas(request: Request, namespace: str, name: str, chosen: Chosen = "1h") -> Response:
        return JSONResponse(await views.replicas(callers.of(request), prometheus, namespace, name, chosen))


def _add_changes(app: FastAPI, callers: Callers) -> None:
    @app.post("/api/models/{namespace}/{name}/change")
    async def change(request: Request, namespace: str, name: str) -> dict[str, Any]:
        caller = callers.of(request)
        namespace, name = namespace_name(namespace), object_name(name)
        order = await _order(request)
        until = from_rfc3339_or_none(order.until)
        if order.until is not None and until is None:
            raise BadRequest(f"until is {order.until[:40]!r} and not a time such as 2026-12-01T18:00:00Z")
        patch = patch_for(order.change, time.time(), until)
        body = await caller.patch(f"{PATH}/namespaces/{namespace}/managedmodels/{name}", patch)
        return {
            **details(body),
            "noEffectBecause": has_no_effect_because(order.change, managed_model(body).policy.mode),
        }


async def _order(request: Request) -> ChangeOrder:
    # A form of another site can be sent without asking the browser's permission; JSON can't.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("the body must be application/json")
    try:
        body = await read_body(request, MOST_BODY_BYTES)
        if fault := fault_of_keys(body):
            raise BadRequest(fault)
        return ChangeOrder.model_validate_json(body)
    except BodyTooLarge:
        raise BadRequest(f"the body is longer than {MOST_BODY_BYTES} bytes") from None
    except ClientDisconnect:
        raise BadRequest("the body ended early") from None
    except ValidationError as error:
        raise BadRequest(what_is_wrong(error)) from error


async def _refused(_request: Request, error: Exception) -> Response:
    match error:
        case Refused():
            return _problem(error.status, error.title, error.detail, error.hint)
        case HTTPException():
            return _problem(error.status_code, str(error.detail), str(error.detail), "")
    return _problem(422, "That makes no sense", "The address or its parameters are not as they should be", "")


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("%s %s broke", request.method, request.url.path, exc_info=error)
    return _problem(500, "Internal error", "The request broke inside the console; see its log", "")


def _problem(status: int, title: str, detail: str, hint: str) -> Response:
    return problem_response({"status": status, "title": title, "detail": detail, "hint": hint})
