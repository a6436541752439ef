"""Our routes in front of the user's app: what it has of its own wins, what it lacks is ours."""

from collections.abc import Callable

import httpx
import pytest
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.command.serving import _InFront
from dormouse_modelserver.server.authority import nobody
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

ClientOf = Callable[..., httpx.AsyncClient]

mine = PlainTextResponse("mine")
no_such_page = PlainTextResponse("no such page", 404)


def with_route() -> ASGIApp:
    app = FastAPI()
    app.add_api_route("/metrics", lambda: "mine")
    return app


def with_mount() -> ASGIApp:
    """How prometheus_client's documentation does it: /metrics leads to /metrics/."""
    app = FastAPI()
    app.mount("/metrics", mine)
    return app


def with_app_at_the_root() -> ASGIApp:
    app = FastAPI()
    app.mount("", with_route())
    return app


def with_site_at_the_root() -> ASGIApp:
    app = FastAPI()
    app.mount("/", no_such_page)
    return app


@pytest.mark.parametrize(
    ("app", "own"),
    [
        (with_route, True),
        (with_mount, True),
        (with_app_at_the_root, True),
        (with_site_at_the_root, False),
        (FastAPI, False),
        (lambda: no_such_page, False),
    ],
    ids=["route", "mount", "app at the root", "site at the root", "nothing", "plain ASGI"],
)
async def test_the_apps_own_metrics_win(
    manager: ResidencyManager, client_of: ClientOf, app: Callable[[], ASGIApp], own: bool
) -> None:
    client = client_of(_InFront(manager, app(), nobody))
    shown = (await client.get("/metrics", follow_redirects=True)).text
    assert ("mine" in shown, "dormouse_model_residency" in shown) == (own, not own)
    assert "dormouse_model_residency" in (await client.get("/dormouse/metrics")).text
    assert (await client.get("/healthz")).status_code == 200


async def test_without_an_app_the_control_routes_are_there(manager: ResidencyManager, client_of: ClientOf) -> None:
    client = client_of(_InFront(manager, None, nobody))
    assert (await client.get("/dormouse/v1/models/tts")).json()["name"] == "tts"
    assert (await client.get("/elsewhere")).status_code == 404
