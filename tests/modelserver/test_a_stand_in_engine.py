"""The seam between a slot and what it moves: a real slot, a real control socket, and an engine of twenty lines."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dormouse_contract import Residency, Trigger
from dormouse_modelserver.errors import TransitionFailed
from dormouse_modelserver.lifecycle.idle_timer import IdleTimer
from dormouse_modelserver.lifecycle.registry import Registry
from dormouse_modelserver.lifecycle.settings import SlotSettings
from dormouse_modelserver.lifecycle.slot import Slot
from dormouse_modelserver.lifecycle.uses.hold import Hold
from dormouse_modelserver.server.socket import serve_socket

from tests.modelserver.stand_in import StandIn, StandInDevice
from tests.waiting import until

STAMP = {"owner": "uid-1", "generation": 5, "issuer": "lease-1", "term": 2}
REQUESTS = 50


class Server:
    def __init__(self, engine: StandIn, path: Path, settings: SlotSettings) -> None:
        self.engine, self.registry = engine, Registry(StandInDevice())
        self.timer = IdleTimer(self.registry.slots)
        self.slot: Slot[str] = Slot("tts", engine, settings, self.registry.telemetry, changed=self.timer.slot_changed)
        self.registry.add(self.slot)
        self._close_socket = serve_socket(self.registry, str(path))
        self.control = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://model", timeout=20)

    def order(self, desired: str, **rest: Any) -> httpx.Response:
        return self.control.put("/dormouse/v1/models/tts/residency", json={"desired": desired, **rest})

    def snapshot(self) -> Any:
        return self.control.get("/dormouse/v1/models/tts").json()

    def close(self) -> None:
        self.control.close()
        self.timer.close()
        self._close_socket()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    servers: list[Server] = []

    def serve(engine: StandIn | None = None, **settings: Any) -> Server:
        servers.append(Server(engine or StandIn(), tmp_path / "model.sock", SlotSettings(**settings)))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def use(server: Server) -> str:
    with Hold(server.slot, None) as model:
        return model


def test_fifty_requests_at_once_are_answered_after_one_wake(serve: Any) -> None:
    server, together, answers = serve(), threading.Barrier(REQUESTS), list[str]()

    def request() -> None:
        together.wait(30)
        answers.append(use(server))

    threads = [threading.Thread(target=request) for _ in range(REQUESTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == ["the model"] * REQUESTS
    assert server.engine.moves == [Residency.GPU]
    assert server.snapshot()["lastTransition"]["trigger"] == "Demand"


def test_a_demotion_is_refused_while_in_use_and_before_it_was_idle_for_long_enough(serve: Any) -> None:
    server = serve()
    with Hold(server.slot, None):
        refused = server.order("CPU")
        assert (refused.status_code, refused.json()["reason"]) == (409, "InUse")
    early = server.order("CPU", ifIdleForSeconds=600)
    assert (early.status_code, early.json()["reason"]) == (409, "InUse")
    assert server.order("CPU", ifIdleForSeconds=0).status_code == 200
    assert server.engine.moves == [Residency.GPU, Residency.CPU]


@pytest.mark.parametrize(
    "older",
    [
        pytest.param(STAMP | {"generation": 4}, id="an older generation of the owner"),
        pytest.param(STAMP | {"term": 1}, id="an older term of the issuer"),
    ],
)
def test_an_order_that_a_newer_one_has_overtaken_is_refused(serve: Any, older: dict[str, Any]) -> None:
    server = serve()
    use(server)
    assert server.order("CPU", order=STAMP).status_code == 200
    stale = server.order("Unloaded", order=older)
    assert (stale.status_code, stale.json()["reason"]) == (409, "StaleOrder")
    assert server.snapshot()["residency"] == "CPU"
    assert server.order("Unloaded", order=STAMP | {"generation": 6, "term": 3}).status_code == 200


def test_a_slot_asks_its_engine_where_it_is(serve: Any) -> None:
    """A server that was started beside its slot may have its model on the GPU already."""
    server = serve(StandIn(Residency.GPU))
    assert server.snapshot()["residency"] == "GPU"
    assert use(server) == "the model"
    assert server.engine.moves == [], "nothing had to be woken"
    assert server.order("CPU").status_code == 200


def test_what_was_on_the_gpu_before_its_slot_falls_asleep_when_idle(serve: Any) -> None:
    server = serve(StandIn(Residency.GPU), idle_timeout_seconds=0.2)
    until(lambda: server.snapshot()["residency"] == "CPU")
    assert server.snapshot()["lastTransition"]["trigger"] == "Idle"


def test_a_wake_that_fails_is_said_to_who_waits_and_tried_again(serve: Any) -> None:
    server = serve()
    server.engine.fails = OSError("no such server")
    with pytest.raises(TransitionFailed, match="no such server"):
        use(server)
    assert server.snapshot()["residency"] == "Unloaded"
    server.engine.fails = None
    assert use(server) == "the model"


def test_preloaded_it_is_in_host_ram_by_the_trigger_startup_and_awake_ones_stay(serve: Any) -> None:
    server = serve()
    server.registry.preload()
    last = server.snapshot()["lastTransition"]
    assert (last["to"], last["trigger"]) == ("CPU", Trigger.STARTUP)
    use(server)
    server.registry.preload()
    assert server.snapshot()["residency"] == "GPU"


def test_an_engine_that_has_no_tier_in_host_ram_is_loaded_once_and_left(serve: Any) -> None:
    server = serve()
    server.engine.load = lambda: None
    server.registry.preload()
    assert server.snapshot()["residency"] == "Unloaded"
    assert len(server.slot.view.recent_transitions()) == 1


def test_metrics_and_probes_are_answered(serve: Any) -> None:
    server = serve()
    use(server)
    text = server.control.get("/metrics").text
    assert 'dormouse_model_residency{model="tts",residency="GPU"} 1.0' in text
    assert server.control.get("/readyz").status_code == server.control.get("/healthz").status_code == 200
