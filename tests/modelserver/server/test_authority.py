"""Who may change state through an app's port: nobody without a token, and a client's address never counts."""

from collections.abc import Callable

import httpx
import pytest
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.server.authority import Authority, loopback_authority
from dormouse_modelserver.server.routes import control_router
from fastapi import FastAPI

ClientOf = Callable[..., httpx.AsyncClient]
ORDERS = [
    ("/dormouse/v1/models/tts/residency", {"desired": "GPU"}),
    ("/dormouse/v1/models/tts/policy", {"validForSeconds": 60, "pinned": True}),
]
each_order = pytest.mark.parametrize(("path", "body"), ORDERS, ids=["residency", "policy"])


def app_of(manager: ResidencyManager, authority: Authority | None = None) -> FastAPI:
    app = FastAPI()
    router = manager.router() if authority is None else control_router(manager, "/dormouse", authority)
    app.include_router(router)
    return app


def untouched(manager: ResidencyManager) -> bool:
    seen = manager["tts"].snapshot()
    return seen.last_transition is None and seen.transition is None and not seen.pinned


@each_order
async def test_without_a_token_the_routes_are_read_only(
    manager: ResidencyManager, client_of: ClientOf, path: str, body: dict[str, object]
) -> None:
    client = client_of(app_of(manager), Authorization="Bearer ")
    response = await client.put(path, json=body)
    assert (response.status_code, response.json()["reason"]) == (403, "NotAuthorised")
    assert (await client.get("/dormouse/v1/models")).status_code == 200
    assert untouched(manager)


@each_order
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Basic secret", "secret", "Bearer secret2"])
async def test_with_a_token_only_who_knows_it(
    manager: ResidencyManager,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, object],
    given: str | None,
) -> None:
    monkeypatch.setenv("DORMOUSE_PANEL_TOKEN", "secret")
    client = client_of(app_of(manager), **({} if given is None else {"Authorization": given}))
    response = await client.put(path, json=body)
    assert (response.status_code, response.json()["reason"]) == (401, "NotAuthorised")
    assert untouched(manager)
    allowed = await client.put(path, json=body, headers={"Authorization": "Bearer secret"})
    assert allowed.status_code == 200


@each_order
async def test_behind_a_sidecar_the_apps_port_is_read_only_token_or_not(
    manager: ResidencyManager,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, object],
) -> None:
    monkeypatch.setenv("DORMOUSE_PANEL_TOKEN", "secret")
    monkeypatch.setenv("DORMOUSE_SOCKET", "/run/dormouse/model.sock")
    client = client_of(app_of(manager), Authorization="Bearer secret")
    assert (await client.put(path, json=body)).status_code == 403
    assert untouched(manager)


@each_order
@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:7860", True),
        ("localhost:7860", True),
        ("[::1]:7860", True),
        ("evil.example", False),
        ("evil.example:7860", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.7:7860", False),
    ],
)
async def test_on_loopback_a_page_from_elsewhere_is_refused_by_its_host(
    manager: ResidencyManager, client_of: ClientOf, path: str, body: dict[str, object], host: str, allowed: bool
) -> None:
    authority = loopback_authority(frozenset({"localhost", "127.0.0.1", "::1"}))
    response = await client_of(app_of(manager, authority)).put(path, json=body, headers={"Host": host})
    assert response.status_code == (200 if allowed else 403)
    assert untouched(manager) is not allowed


@each_order
async def test_being_refused_comes_before_being_read(
    manager: ResidencyManager, client_of: ClientOf, path: str, body: dict[str, object]
) -> None:
    """Nobody learns what models there are, or makes the server read a body, without authority."""
    client = client_of(app_of(manager))
    assert (await client.put(path.replace("tts", "nosuch"), content=b"{")).status_code == 403
