"""Models that are loaded before the first request, and unloaded when the server stops."""

import logging
import threading

import pytest
import torch
from dormouse_contract import Residency, Trigger
from dormouse_modelserver import LoadFailed, Model, ResidencyManager
from dormouse_modelserver.lifecycle.registry import NotReady
from torch import nn

from tests.waiting import until

from .conftest import Loads, ask, load_doubler
from .test_pressure import full_host


def test_each_model_is_loaded_into_host_ram_and_none_is_woken(manager: ResidencyManager) -> None:
    models = [manager.register(name, load=load_doubler) for name in ("a", "b")]
    manager.preload()
    for model in models:
        last = model.snapshot().last_transition
        assert last is not None
        assert (last.from_, last.to, last.trigger) == (Residency.UNLOADED, Residency.CPU, Trigger.STARTUP)
    assert manager.device.memory().used == 0


def test_it_is_not_ready_while_it_loads(manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads) -> None:
    loads.may_go_on.clear()
    manager.preload_in_background()
    assert loads.began.wait(30)
    assert manager.not_ready_because() is NotReady.LOADING
    loads.may_go_on.set()
    until(lambda: manager.not_ready_because() is None)
    assert tts.snapshot().residency is Residency.CPU


def test_a_request_that_comes_meanwhile_shares_the_load(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads
) -> None:
    loads.may_go_on.clear()
    manager.preload_in_background()
    assert loads.began.wait(30)
    answers: list[float] = []

    def request() -> None:
        with tts.on_gpu() as model:
            answers.append(ask(model, 4))

    asking = threading.Thread(target=request)
    asking.start()
    until(lambda: tts.snapshot().waiting == 1)
    loads.may_go_on.set()
    asking.join(30)
    assert (answers, loads.count) == ([9.0], 1)
    until(lambda: manager.not_ready_because() is None)


def test_a_load_that_fails_leaves_it_not_ready_and_says_why(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    loads.fails = OSError("no such file")
    with pytest.raises(LoadFailed, match="no such file"):
        manager.preload()
    assert manager.not_ready_because() is NotReady.LOAD_FAILED
    with caplog.at_level(logging.ERROR, "dormouse"):
        manager.preload_in_background()
        until(lambda: "could not be loaded at start" in caplog.text)
    assert manager.not_ready_because() is NotReady.LOAD_FAILED
    loads.fails = None
    manager.preload()
    assert manager.not_ready_because() is None
    assert tts.snapshot().residency is Residency.CPU


def test_a_request_that_loads_it_after_all_makes_the_server_ready_for_good(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads
) -> None:
    loads.fails = OSError("no such file")
    with pytest.raises(LoadFailed):
        manager.preload()
    loads.fails = None
    with tts.on_gpu():
        assert manager.not_ready_because() is None
    tts.move_to(Residency.UNLOADED)
    assert manager.not_ready_because() is None


def test_one_load_that_fails_leaves_the_others_to_be_loaded(manager: ResidencyManager) -> None:
    broken, whole = Loads(), Loads()
    broken.fails = OSError("no such file")
    manager.register("broken", load=broken)
    model = manager.register("whole", load=whole)
    with pytest.raises(LoadFailed):
        manager.preload()
    assert model.snapshot().residency is Residency.CPU


def test_what_host_ram_has_no_room_for_is_passed_over(
    manager: ResidencyManager, tts: Model[nn.Linear], caplog: pytest.LogCaptureFixture
) -> None:
    full_host(manager, 10)
    with caplog.at_level(logging.WARNING, "dormouse"):
        manager.preload()
    assert "model tts: not loaded at start: host RAM has room for 10 bytes" in caplog.text
    assert manager.not_ready_because() is None
    assert tts.snapshot().residency is Residency.UNLOADED


def test_a_server_that_stops_begins_no_load(manager: ResidencyManager, loads: Loads) -> None:
    manager.register("first", load=loads)
    second = Loads()
    manager.register("second", load=second)
    loads.may_go_on.clear()
    manager.preload_in_background()
    assert loads.began.wait(30)
    manager.drain()
    loads.may_go_on.set()
    until(lambda: not manager.moves_under_way())
    assert second.count == 0


def test_a_model_that_is_awake_stays_awake(manager: ResidencyManager, tts: Model[nn.Linear]) -> None:
    tts.move_to(Residency.GPU)
    manager.preload()
    assert tts.snapshot().residency is Residency.GPU


def test_at_the_end_each_is_unloaded_and_the_device_has_its_memory(
    manager: ResidencyManager, tts: Model[nn.Linear]
) -> None:
    tts.move_to(Residency.GPU)
    manager.unload_all(within_seconds=30)
    last = tts.snapshot().last_transition
    assert last is not None
    assert (last.to, last.trigger) == (Residency.UNLOADED, Trigger.SHUTDOWN)
    assert manager.device.memory().used == 0


def test_a_change_that_ends_with_the_process_is_said(
    manager: ResidencyManager, changed: Model[nn.Linear], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dormouse"):
        manager.unload_all(within_seconds=30)
    assert "model tts: its weights were changed since the load; the change ends here" in caplog.text


def test_who_is_in_use_at_the_end_is_left(manager: ResidencyManager, tts: Model[nn.Linear]) -> None:
    with tts.on_gpu() as model:
        manager.unload_all(within_seconds=30)
        with torch.inference_mode():
            assert float(model(torch.zeros(1, 4))[0, 0]) == 1


def test_the_end_waits_no_longer_than_it_may(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    loads.may_go_on.clear()
    manager.preload_in_background()
    assert loads.began.wait(30)
    with caplog.at_level(logging.INFO, "dormouse"):
        manager.unload_all(within_seconds=0.05)
    assert "not unloaded before the end of the process: a move takes longer" in caplog.text
    assert manager.moves_under_way()
    loads.may_go_on.set()
