"""What is ours answers to one spelling of its path, wherever it is: a proxy's rule on that spelling holds."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.command.serving import _InFront
from dormouse_modelserver.server.authority import anyone
from dormouse_modelserver.server.routes import control_router
from dormouse_webkit.connections import bounded_connections
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from tests.modelserver.lifecycle.conftest import load_doubler
from tests.waiting import until

from .raw_http import ask

MINE = b"the app's own"


@contextmanager
def served(app: ASGIApp, **settings: str) -> Iterator[int]:
    """On a port of this process, by the server that `serve` has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="critical", http=bounded_connections(), **settings)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(20)


def _app() -> FastAPI:
    """Takes whatever is not ours."""
    app = FastAPI(openapi_url=None)

    async def mine(request: Request) -> PlainTextResponse:
        return PlainTextResponse(MINE)

    app.add_route("/{rest:path}", mine, methods=["GET", "PUT"])
    return app


def by_serve(manager: ResidencyManager) -> ASGIApp:
    return _InFront(manager, _app(), anyone)


def installed(manager: ResidencyManager) -> ASGIApp:
    app = _app()
    manager.install(app)
    return app


def by_router(manager: ResidencyManager) -> ASGIApp:
    app = FastAPI(openapi_url=None)
    app.include_router(control_router(manager, "/dormouse", anyone))
    app.mount("/", _app())
    return app


def mounted(manager: ResidencyManager) -> ASGIApp:
    outer = FastAPI(openapi_url=None)
    outer.mount("/my app", installed(manager))
    outer.mount("/", _app())
    return outer


def under_a_longer_prefix(manager: ResidencyManager) -> ASGIApp:
    app = FastAPI(openapi_url=None)
    app.include_router(control_router(manager, "/dormouse", anyone), prefix="/deep/er")
    app.mount("/", _app())
    return app


WAYS = {
    "serve": (by_serve, ""),
    "install": (installed, ""),
    "router": (by_router, ""),
    "mounted": (mounted, "/my%20app"),
    "longer prefix": (under_a_longer_prefix, "/deep/er"),
}
# Each decodes, or is cut, to one of our paths by somebody's reading.
OTHER_SPELLINGS = [
    "/dormouse%2fv1/models",
    "/dormouse%2Fv1/models",
    "/dormouse%2fv1%2fmodels",
    "/dormouse/v1%2fmodels",
    "/dormouse/v1%2fmodels%2ftts",
    "/%64ormouse/v1/models",
    "/%44ormouse/v1/models",
    "/dormous%65/v1/models",
    "/dormouse/%76%31/models",
    "/dormouse/v1/model%73",
    "/dormouse/v1/models/%74ts",
    "/dormouse/v1/models/tts%0a",
    "/dormouse/v1/models%0a",
    "/dormouse/v1/models%00",
    "/dormouse/v1/models%20",
    "/dormouse/v1/models%3fx",
    "/dormouse/v1/models%23x",
    "/dormouse/v1/models%3bx",
    "/dormouse/v1/models/tts%2f",
    "/dormouse%252fv1/models",
    "/dormouse/%2576%2531/models",
    "/dormouse/%2e%2e/metrics",
    "/dormouse/%2e/v1/models",
    "/dormouse/./v1/models",
    "/dormouse/../dormouse/v1/models",
    "/x/../dormouse/v1/models",
    "/x/%2e%2e/dormouse/v1/models",
    "//dormouse/v1/models",
    "/dormouse//v1/models",
    "/dormouse/v1//models",
    "/dormouse/v1/models/",
    "/dormouse/v1/models//tts",
    "/%2fdormouse/v1/models",
    "/%2e/dormouse/v1/models",
    "/Dormouse/v1/models",
    "/DORMOUSE/v1/models",
    "/dormouse/V1/models",
    "/dormouse;x=1/v1/models",
    "/dormouse/v1/models;x=1",
    "/dormouse/v1/models/tts;x",
    "/dormouse\\v1\\models",
    "/dormouse%5cv1/models",
    "/dormouse%c0%afv1/models",
    "/dormouse/v1/models/%ef%bd%94ts",
    "http://127.0.0.1/dormouse/v1/models",
    "http://elsewhere/dormouse/v1/models",
    "dormouse/v1/models",
    "*",
]


@pytest.fixture(scope="module")
def manager() -> Iterator[ResidencyManager]:
    manager = ResidencyManager("sim:1MiB", socket="")
    manager.register("tts", load=load_doubler)
    yield manager
    manager.close()


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def way(request: pytest.FixtureRequest, manager: ResidencyManager) -> Iterator[tuple[int, str]]:
    """A port, and what stands before our paths."""
    app: Callable[[ResidencyManager], ASGIApp]
    app, before = request.param
    with served(app(manager)) as port:
        yield port, before


@pytest.mark.parametrize("spelled", OTHER_SPELLINGS)
def test_another_spelling_is_not_served(way: tuple[int, str], spelled: str) -> None:
    port, before = way
    answered = ask(port, before + spelled if spelled.startswith("/") else spelled)
    assert answered.status in (400, 404) or answered.body == MINE, answered


@pytest.mark.parametrize(
    "spelled",
    [
        "/dormouse%2fv1/models/tts/residency",
        "/dormouse/v1/models/tts%2fresidency",
        "/dormouse/v1/models/tts/residenc%79",
        "/dormouse/v1/models/%74ts/residency",
        "/dormouse/v1/models/tts/residency%0a",
        "/dormouse/v1/models/tts/residency/",
        "/dormouse/v1/models/tts/residency;x",
        "/dormouse/v1/models/tts//residency",
        "/x/../dormouse/v1/models/tts/residency",
        "//dormouse/v1/models/tts/residency",
        "http://127.0.0.1/dormouse/v1/models/tts/residency",
    ],
)
def test_an_order_in_another_spelling_is_not_carried_out(way: tuple[int, str], spelled: str) -> None:
    port, before = way
    target = before + spelled if spelled.startswith("/") else spelled
    answered = ask(port, target, "PUT", b'{"desired": "GPU"}')
    assert answered.status in (400, 404) or answered.body == MINE, answered
    model = json.loads(ask(port, before + "/dormouse/v1/models/tts").body)
    assert (model["residency"], model["lastTransition"]) == ("Unloaded", None)


def test_the_plain_spelling_is(way: tuple[int, str]) -> None:
    port, before = way
    for plain in (
        "/dormouse/v1/models",
        "/dormouse/v1/models?x=%2f%64",
        "/dormouse/v1/models/tts",
        "/dormouse/metrics",
    ):
        answered = ask(port, before + plain)
        assert answered.status == 200
        assert b"tts" in answered.body


@pytest.mark.parametrize("mount", ["/my%20ap%70", "/%6dy%20app", "/my%20app%2f", "/my%2520app"])
def test_a_mounts_name_is_encoded_where_it_must_be_and_not_elsewhere(manager: ResidencyManager, mount: str) -> None:
    with served(mounted(manager)) as port:
        answered = ask(port, mount + "/dormouse/v1/models")
        assert answered.status == 404 or answered.body == MINE


def test_behind_a_proxy_that_cuts_a_prefix_off(manager: ResidencyManager) -> None:
    with served(installed(manager), root_path="/gpu") as port:
        assert ask(port, "/dormouse/v1/models").status == 200
        assert ask(port, "/dormouse%2fv1/models").status == 404


@pytest.mark.parametrize("spelled", ["/%6detrics", "/m%65trics", "/healthz%0a", "/readyz%00", "/met%72ics?x"])
def test_metrics_and_probes_have_one_spelling_as_well(manager: ResidencyManager, spelled: str) -> None:
    with served(_InFront(manager, None, anyone)) as port:
        assert ask(port, spelled).status == 404
        assert ask(port, "/metrics").status == 200


@pytest.mark.parametrize("spelled", ["/caf%C3%A9", "/a%2fb", "/%61", "/a//b", "/a/../b", "/dormouse2", "/metrics%2f"])
def test_the_apps_own_paths_are_its_own_in_any_spelling(way: tuple[int, str], spelled: str) -> None:
    port, before = way
    assert ask(port, before + spelled).body == MINE
