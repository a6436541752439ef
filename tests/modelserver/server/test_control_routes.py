"""The control API over the real unix socket: each status of the contract, with figures and a machine's reason."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from dormouse_contract.problems import PROBLEM_MEDIA_TYPE
from dormouse_contract.wire import ModelList, ModelSnapshot
from dormouse_modelserver import Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.server.authority import anyone
from dormouse_modelserver.server.routes import control_router
from fastapi import FastAPI

from tests.modelserver.lifecycle.conftest import Loads
from tests.waiting import auntil

from .conftest import STAMP

ONE = "/dormouse/v1/models/tts"
TWO_TERMS = json.dumps({"validForSeconds": 60, "pinned": True, "order": STAMP}).replace("}}", ', "term": 1}}').encode()


async def put(control: httpx.AsyncClient, what: str = "residency", **body: Any) -> httpx.Response:
    return await control.put(f"{ONE}/{what}", json=body)


def problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    body: dict[str, Any] = response.json()
    assert (body["status"], body["reason"]) == (status, reason)
    assert body["title"]
    assert body["detail"]
    return body


def device_of(manager: ResidencyManager) -> SimDevice:
    assert isinstance(manager.device, SimDevice)
    return manager.device


async def test_models_are_listed_and_read(control: httpx.AsyncClient) -> None:
    listed = ModelList.model_validate_json((await control.get("/dormouse/v1/models")).text)
    one = ModelSnapshot.model_validate_json((await control.get(ONE)).text)
    assert [model.name for model in listed.models] == ["tts"]
    assert (one.name, one.residency, one.device) == ("tts", Residency.UNLOADED, "sim:1MiB")


async def test_an_order_is_carried_out_and_answers_the_snapshot(control: httpx.AsyncClient) -> None:
    for desired in ("GPU", "CPU", "Unloaded", "CPU", "GPU"):
        response = await put(control, desired=desired, trigger="Schedule", reason="window", order=STAMP)
        assert response.status_code == 200
        assert response.json()["residency"] == desired
        assert response.json()["lastTransition"]["trigger"] == "Schedule"
        assert response.json()["lastTransition"]["reason"] == "window"
    assert (await put(control, desired="GPU")).status_code == 200, "it is there already"


async def test_an_order_that_takes_longer_is_answered_as_on_its_way(control: httpx.AsyncClient, loads: Loads) -> None:
    loads.may_go_on.clear()
    response = await put(control, desired="GPU")
    assert response.status_code == 202
    assert response.json()["transition"]["to"] == "GPU"
    loads.may_go_on.set()
    assert (await put(control, desired="GPU")).status_code == 200


async def test_a_client_that_leaves_in_the_middle_of_its_order_moves_nothing_and_is_no_error_of_ours(
    manager: ResidencyManager, caplog: pytest.LogCaptureFixture
) -> None:
    app, said = FastAPI(), list[Any]()
    app.include_router(control_router(manager, "/dormouse", anyone))
    came = iter([{"type": "http.request", "body": b'{"desired', "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(came)

    async def send(message: Any) -> None:
        said.append(message)

    head = {"type": "http", "method": "PUT", "path": f"{ONE}/residency", "headers": [], "query_string": b""}
    await app(head, receive, send)
    assert said[0]["status"] == 400
    assert manager["tts"].snapshot().residency is Residency.UNLOADED
    assert not caplog.records


@pytest.mark.parametrize("method", ["get", "put"])
async def test_no_such_model_says_which_there_are(control: httpx.AsyncClient, method: str) -> None:
    if method == "get":
        response = await control.get("/dormouse/v1/models/asr")
    else:
        response = await control.put("/dormouse/v1/models/asr/residency", json={"desired": "GPU"})
    assert "there are: tts" in problem(response, 404, "NoSuchModel")["detail"]


async def test_a_demotion_in_use_is_refused_with_figures(control: httpx.AsyncClient, manager: ResidencyManager) -> None:
    async with manager["tts"].on_gpu():
        body = problem(await put(control, desired="CPU", order=STAMP), 409, "InUse")
        assert (body["inFlight"], body["waiting"]) == (1, 0)
    body = problem(await put(control, desired="CPU", ifIdleForSeconds=600), 409, "InUse")
    assert 0 <= body["idleSeconds"] < 600
    assert manager["tts"].snapshot().residency is Residency.GPU


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param({**STAMP, "generation": 4}, id="older generation of the same owner"),
        pytest.param({**STAMP, "term": 1}, id="older term of the same issuer"),
        pytest.param({**STAMP, "owner": "uid-2", "generation": 9, "term": 1}, id="a deposed operator"),
    ],
)
async def test_an_order_that_a_newer_one_overtook_is_refused(
    control: httpx.AsyncClient, manager: ResidencyManager, stale: dict[str, Any]
) -> None:
    assert (await put(control, desired="CPU", order=STAMP)).status_code == 200
    problem(await put(control, desired="GPU", order=stale), 409, "StaleOrder")
    problem(await put(control, "policy", validForSeconds=60, order=stale), 409, "StaleOrder")
    assert manager["tts"].snapshot().residency is Residency.CPU


@pytest.mark.parametrize(
    "fresh",
    [
        pytest.param(STAMP, id="the same again"),
        pytest.param({**STAMP, "owner": "uid-2", "generation": 1}, id="a re-created ManagedModel starts at 1"),
        pytest.param({**STAMP, "issuer": "lease-2", "term": 0}, id="a new issuer"),
        pytest.param(None, id="no stamp, by hand"),
    ],
)
async def test_an_order_that_is_not_older_passes(control: httpx.AsyncClient, fresh: dict[str, Any] | None) -> None:
    assert (await put(control, desired="CPU", order=STAMP)).status_code == 200
    assert (await put(control, desired="GPU", order=fresh)).status_code == 200


async def test_an_unload_that_would_lose_changes_is_refused(
    control: httpx.AsyncClient, manager: ResidencyManager
) -> None:
    async with manager["tts"].on_gpu() as model:
        model.bias.data += 1
    body = problem(await put(control, desired="Unloaded"), 409, "Dirty")
    assert "unload_changes='discard'" in body["detail"]
    assert (await control.get(ONE)).json()["dirty"] is True


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 9000, id="deeply nested"),
        pytest.param(b"{}", id="no desire"),
        pytest.param(b'{"desired": "gpu"}', id="wrong case"),
        pytest.param(b'{"desired": "GPU", "force": true}', id="unknown field"),
        pytest.param(b'{"desired": "GPU", "ifIdleForSeconds": NaN}', id="NaN"),
        pytest.param(b'{"desired": "GPU", "order": {"owner": "a"}}', id="half a stamp"),
        pytest.param(b'{"desired": "CPU", "desired": "GPU"}', id="a key twice"),
        pytest.param(b'{"desired": "GPU", "reason": "a", "\\u0072eason": "b"}', id="a key twice, once escaped"),
    ],
)
async def test_a_bad_body_moves_nothing(control: httpx.AsyncClient, manager: ResidencyManager, body: bytes) -> None:
    response = await control.put(f"{ONE}/residency", content=body)
    assert "Nothing was moved" in problem(response, 422, "BadBody")["detail"]
    assert manager["tts"].snapshot().last_transition is None


@pytest.mark.parametrize("what", ["residency", "policy"])
async def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(
    control: httpx.AsyncClient, what: str
) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 1024
            await asyncio.sleep(0)

    try:
        response = await control.put(f"{ONE}/{what}", content=endless())
    except (httpx.WriteError, httpx.ReadError):
        assert sent < 1000
        return
    problem(response, 413, "BodyTooLarge")


async def test_a_full_device_says_when_to_come_back_and_how_much_is_missing(
    control: httpx.AsyncClient, manager: ResidencyManager
) -> None:
    device_of(manager).faults.full_at_byte = 100
    response = await put(control, desired="GPU")
    body = problem(response, 503, "CannotNow")
    assert int(response.headers["retry-after"]) >= 1
    assert (body["needBytes"], body["roomBytes"]) == (512, 100)
    assert body["retryAfterSeconds"] > 0
    assert manager["tts"].snapshot().residency is Residency.CPU


async def test_a_load_that_raises_is_told(control: httpx.AsyncClient, loads: Loads) -> None:
    loads.fails = OSError("disk")
    assert "OSError: disk" in problem(await put(control, desired="GPU"), 503, "CannotNow")["detail"]


async def test_a_policy_is_lent_and_withdrawn(control: httpx.AsyncClient, manager: ResidencyManager) -> None:
    async with manager["tts"].on_gpu():
        pass
    lent = await put(control, "policy", validForSeconds=60, pinned=True, order=STAMP)
    assert (lent.status_code, lent.json()["pinned"]) == (200, True)
    assert (await put(control, "policy", validForSeconds=0, order=STAMP)).json()["pinned"] is False
    await put(control, "policy", validForSeconds=60, keepAliveSeconds=0, order=STAMP)
    await auntil(lambda: manager["tts"].snapshot().residency is Residency.CPU, within_seconds=2)


async def test_a_key_that_is_given_twice_is_named(control: httpx.AsyncClient, manager: ResidencyManager) -> None:
    for what, body in (("residency", b'{"desired": "CPU", "desired": "CPU"}'), ("policy", TWO_TERMS)):
        key = "desired" if what == "residency" else "term"
        refused = problem(await control.put(f"{ONE}/{what}", content=body), 422, "BadBody")
        assert f"the key '{key}' is given twice" in refused["detail"]
    assert manager["tts"].snapshot().pinned is False


@pytest.mark.parametrize("body", [{}, {"validForSeconds": -1}, {"validForSeconds": 1, "unloadAfterSeconds": 5}])
async def test_a_bad_policy_is_refused(control: httpx.AsyncClient, body: dict[str, Any]) -> None:
    problem(await control.put(f"{ONE}/policy", content=json.dumps(body)), 422, "BadBody")


async def test_the_routes_answer_while_a_hundred_requests_wait(
    control: httpx.AsyncClient, manager: ResidencyManager, loads: Loads
) -> None:
    loads.may_go_on.clear()

    async def use() -> None:
        async with manager["tts"].on_gpu():
            pass

    waiting = [asyncio.create_task(use()) for _ in range(100)]
    await auntil(lambda: manager["tts"].snapshot().waiting == 100)
    assert (await control.get(ONE)).json()["waiting"] == 100
    problem(await put(control, desired="CPU"), 409, "InUse")
    loads.may_go_on.set()
    await asyncio.gather(*waiting)


async def test_a_sidecar_gets_no_advice_which_an_older_reader_would_refuse(control: httpx.AsyncClient) -> None:
    assert list((await control.get("/dormouse/v1/models")).json()) == ["models"]
