"""`/readyz`, and the routes within an app that the user has."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from dormouse_modelserver import ResidencyManager, WakeTimeout
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from fastapi import FastAPI

from tests.modelserver.lifecycle.conftest import Loads, ask
from tests.waiting import auntil

ClientOf = Callable[..., httpx.AsyncClient]


async def ready(client: httpx.AsyncClient) -> int:
    assert (await client.get("/healthz")).status_code == 200
    return (await client.get("/readyz")).status_code


async def test_a_sleeping_waking_or_full_server_is_ready_or_nothing_would_wake_it(
    control: httpx.AsyncClient, manager: ResidencyManager, loads: Loads
) -> None:
    assert isinstance(manager.device, SimDevice)
    assert await ready(control) == 200, "asleep"
    loads.may_go_on.clear()
    waiting = asyncio.create_task(manager["tts"].on_gpu().__aenter__())
    await auntil(lambda: manager["tts"].snapshot().waiting == 1)
    assert await ready(control) == 200, "loading"
    manager.device.faults.full_at_byte = 0
    loads.may_go_on.set()
    with pytest.raises(Exception, match="has room for 0 bytes"):
        await waiting
    assert await ready(control) == 200, "the device is full"
    manager.drain()
    assert await ready(control) == 503, "draining"


def app_with(manager: ResidencyManager) -> FastAPI:
    app = FastAPI()

    @app.post("/say")
    async def say() -> float:
        async with manager["tts"].on_gpu(timeout=0.2) as model:
            return ask(model, 1)

    @app.post("/other")
    async def other() -> None:
        raise KeyError("mine")

    manager.install(app)
    return app


async def test_an_app_answers_and_shows_its_models(manager: ResidencyManager, client_of: ClientOf) -> None:
    client = client_of(app_with(manager))
    assert (await client.post("/say")).json() == 3
    assert (await client.get("/dormouse/v1/models/tts")).json()["residency"] == "GPU"
    assert (await client.get("/dormouse/metrics")).status_code == 200


async def test_a_wake_that_takes_too_long_is_an_honest_503(
    manager: ResidencyManager, client_of: ClientOf, loads: Loads
) -> None:
    client = client_of(app_with(manager))
    loads.may_go_on.clear()
    response = await client.post("/say")
    assert (response.status_code, response.json()["reason"]) == (503, "WakeTimeout")
    assert int(response.headers["retry-after"]) >= 1
    loads.may_go_on.set()
    await auntil(lambda: manager["tts"].snapshot().transition is None)
    assert (await client.post("/say")).json() == 3


async def test_a_full_device_is_an_honest_503_with_figures(manager: ResidencyManager, client_of: ClientOf) -> None:
    assert isinstance(manager.device, SimDevice)
    manager.device.faults.full_at_byte = 7
    response = await client_of(app_with(manager)).post("/say")
    assert (response.status_code, response.json()["needBytes"], response.json()["roomBytes"]) == (503, 512, 7)


async def test_the_apps_own_errors_stay_its_own(manager: ResidencyManager, client_of: ClientOf) -> None:
    with pytest.raises(KeyError, match="mine"):
        await client_of(app_with(manager)).post("/other")


@pytest.mark.parametrize("fails", [False, True], ids=["orderly", "with an error"])
async def test_the_app_drains_at_shutdown(manager: ResidencyManager, fails: bool) -> None:
    app = app_with(manager)
    try:
        async with app.router.lifespan_context(app):
            assert manager.not_ready_because() is None
            if fails:
                raise WakeTimeout("late", 1)
    except WakeTimeout:
        pass
    assert manager.not_ready_because() == "draining"


async def test_another_prefix(manager: ResidencyManager, client_of: ClientOf) -> None:
    app = FastAPI()
    app.include_router(manager.router(prefix="/gpu"))
    assert (await client_of(app).get("/gpu/v1/models")).status_code == 200
