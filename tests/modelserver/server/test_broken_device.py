"""Over HTTP, after the device has failed for good: requests and probes say so, and what is known is still told."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from dormouse_contract.problems import PROBLEM_MEDIA_TYPE
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.lifecycle.device import DeviceMemory
from dormouse_modelserver.server import memory_reading
from fastapi import FastAPI

from tests.modelserver.lifecycle.conftest import Stop, ask
from tests.waiting import auntil, until

from .serving_process import Serving
from .test_metrics import scrape, value

ClientOf = Callable[..., httpx.AsyncClient]
CAUSE = "simulated: a kernel failed: device-side assert"
SENTENCE = (
    f"sim:1MiB failed and does nothing more in this process ({CAUSE}). "
    "The weights in host RAM and on disk are unharmed. Restart the process"
)


@pytest.fixture
def device(manager: ResidencyManager) -> SimDevice:
    assert isinstance(manager.device, SimDevice)
    return manager.device


@pytest.fixture
def app(manager: ResidencyManager, device: SimDevice, client_of: ClientOf) -> httpx.AsyncClient:
    """A user's app whose model's kernel fails after the answer to /break has gone."""
    app = FastAPI()

    def fails() -> None:
        raise RuntimeError("device-side assert")

    @app.get("/say")
    async def say() -> float:
        async with manager["tts"].on_gpu() as model:
            return ask(model, 1)

    @app.get("/break")
    async def break_it() -> None:
        async with manager["tts"].on_gpu():
            device.run_late(fails)

    manager.install(app)
    return client_of(app)


async def broken(app: httpx.AsyncClient, device: SimDevice) -> None:
    assert (await app.get("/say")).json() == 3
    assert (await app.get("/break")).status_code == 200
    await auntil(lambda: device.broken is not None)


def assert_told(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    assert (response.json()["reason"], response.json()["detail"]) == ("CannotNow", SENTENCE)
    assert "retry-after" not in response.headers, "asking this process again is of no use"
    assert "retryAfterSeconds" not in response.json()


async def test_the_next_request_and_every_order_get_the_sentence(
    app: httpx.AsyncClient, device: SimDevice, control: httpx.AsyncClient
) -> None:
    await broken(app, device)
    for _ in range(2):
        assert_told(await app.get("/say"))
    for desired in ("GPU", "CPU", "Unloaded"):
        assert_told(await control.put("/dormouse/v1/models/tts/residency", json={"desired": desired}))


async def test_the_probes_fail_so_that_the_process_is_restarted(
    app: httpx.AsyncClient, device: SimDevice, control: httpx.AsyncClient
) -> None:
    probes = [(app, "/dormouse/healthz"), (app, "/dormouse/readyz"), (control, "/healthz"), (control, "/readyz")]
    for client, path in probes:
        assert (await client.get(path)).status_code == 200
    await broken(app, device)
    for client, path in probes:
        assert_told(await client.get(path))


async def test_what_is_known_is_still_told(
    app: httpx.AsyncClient, device: SimDevice, control: httpx.AsyncClient, manager: ResidencyManager
) -> None:
    await broken(app, device)
    await app.get("/say")
    models = await control.get("/dormouse/v1/models")
    assert models.status_code == 200
    assert (models.json()["models"][0]["residency"], models.json()["models"][0]["gpuMemoryBytes"]) == ("GPU", 512)
    samples = await scrape(control)
    assert value(samples, "dormouse_model_residency", residency="GPU") == 1
    assert value(samples, "dormouse_model_requests_total", outcome="rejected") == 1
    assert not [name for name, _ in samples if name == "dormouse_process_gpu_memory_bytes"], "never a made-up 0"
    assert [name for name, _ in samples if name == "dormouse_host_memory_budget_bytes"]


async def test_a_scrape_that_finds_it_is_answered(
    control: httpx.AsyncClient, device: SimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = device.memory

    def breaks() -> DeviceMemory:
        device.break_device()
        return memory()

    monkeypatch.setattr(device, "memory", breaks)
    samples = await scrape(control)
    assert not [name for name, _ in samples if name == "dormouse_process_gpu_memory_bytes"]
    assert (await control.get("/healthz")).status_code == 503


async def test_a_device_that_refuses_to_tell_costs_only_its_own_figure(
    control: httpx.AsyncClient, device: SimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> DeviceMemory:
        raise RuntimeError("not now")

    monkeypatch.setattr(device, "memory", refuses)
    assert value(await scrape(control), "dormouse_model_residency", residency="Unloaded") == 1
    assert (await control.get("/healthz")).status_code == 200


async def test_a_driver_that_hangs_holds_no_other_request_up(
    app: httpx.AsyncClient, device: SimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading is beside the loop, once however many ask, and is given up after a while."""
    stop, memory = Stop(), device.memory
    asked_in: list[str] = []

    def hangs() -> DeviceMemory:
        asked_in.append(threading.current_thread().name)
        stop()
        return memory()

    monkeypatch.setattr(device, "memory", hangs)
    scrapes = [asyncio.create_task(app.get("/dormouse/metrics")) for _ in range(3)]
    await auntil(stop.reached.is_set)
    assert (await app.get("/say")).json() == 3
    assert not any(scrape.done() for scrape in scrapes)
    monkeypatch.setattr(memory_reading, "_ANSWER_SECONDS", 0.05)
    given_up = await app.get("/dormouse/metrics")
    assert (given_up.status_code, "dormouse_process_gpu_memory_bytes{" in given_up.text) == (200, False)
    stop.go()
    for late in await asyncio.gather(*scrapes):
        assert "dormouse_process_gpu_memory_bytes{" in late.text
    assert asked_in == ["dormouse-memory"]


BREAKS = """
import torch
from fastapi import FastAPI

def load_tts():
    return torch.nn.Linear(4, 4)

def fails():
    raise RuntimeError("device-side assert")

def create_app(residency):
    app = FastAPI()
    @app.get("/break")
    async def break_it() -> None:
        async with residency["tts"].on_gpu():
            residency.device.run_late(fails)
    return app
"""


def test_serve_fails_its_probes_and_still_stops_in_order(tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text(BREAKS)
    arguments = ("--model", "tts=breaks:load_tts", "--app", "breaks:create_app", "--device", "sim:1MiB")
    with Serving(tmp_path, *arguments, "--idle-timeout", "0.2") as server:
        assert server.get("/healthz").status_code == 200
        assert server.get("/break").status_code == 200
        until(lambda: server.get("/healthz").status_code == 503)
        for path in ("/healthz", "/readyz", "/break", "/dormouse/healthz"):
            assert_told(server.get(path))
        assert server.get("/metrics").status_code == 200
        assert server.get("/dormouse/v1/panel").json()["device"]["broken"] == CAUSE
        assert server.stop() == 0
        assert server.log.count("Restart the process") == 1
