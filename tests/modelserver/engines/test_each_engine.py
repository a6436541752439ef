"""What a slot relies on, asked of each engine in the same words. A new engine is one more line of ENGINES."""

import itertools
import pkgutil
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from dormouse_contract import Residency, TransitionOutcome
from dormouse_modelserver import engines as package
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.errors import DeviceFull, DormouseError, ModelBusy, ModelChanged
from dormouse_modelserver.lifecycle.engine import Engine, Released
from dormouse_modelserver.lifecycle.settings import SlotSettings
from dormouse_modelserver.lifecycle.slot import Slot
from dormouse_modelserver.lifecycle.telemetry import Telemetry
from dormouse_modelserver.lifecycle.uses.hold import Hold

from tests.modelserver.lifecycle.conftest import load_doubler
from tests.modelserver.stand_in import StandIn
from tests.waiting import until

UNLOADED, CPU, GPU = Residency.UNLOADED, Residency.CPU, Residency.GPU
# Packages beside the engines that are none.
NO_ENGINE = {"nvml"}


def torch_weights() -> Engine[Any]:
    return Weights("tts", load_doubler, TorchProcess(SimDevice("sim", 1 << 20)))


ENGINES: dict[str, Callable[[], Engine[Any]]] = {"torch": torch_weights, "stand_in": StandIn}


def torch_on_a_small_device() -> Engine[Any]:
    return Weights("tts", load_doubler, TorchProcess(SimDevice("sim", 8)))


def torch_that_can_not_load() -> Engine[Any]:
    def load() -> Any:
        raise OSError("no such file")

    return Weights("tts", load, TorchProcess(SimDevice("sim", 1 << 20)))


def stand_in_that_fails() -> Engine[Any]:
    engine = StandIn()
    engine.fails = DeviceFull("sim-stand-in", 100, 0)
    return engine


# Each with a wake that fails, and the tiers in which it may leave the model then.
FAILING: dict[str, tuple[Callable[[], Engine[Any]], set[Residency]]] = {
    "torch: the device is full": (torch_on_a_small_device, {UNLOADED, CPU}),
    "torch: the load fails": (torch_that_can_not_load, {UNLOADED}),
    "stand_in: the device is full": (stand_in_that_fails, {UNLOADED}),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine[Any]:
    return ENGINES[request.param]()


def test_each_package_of_an_engine_is_asked_here() -> None:
    there = {module.name for module in pkgutil.iter_modules(package.__path__)} - NO_ENGINE
    missing = there - ENGINES.keys()
    assert not missing, (
        f"engines/{', '.join(sorted(missing))} is not asked: add a line to ENGINES in this file and a row to "
        "the rooms in docs/architecture.md. A package that is no engine belongs in NO_ENGINE"
    )


def test_it_begins_in_a_tier(engine: Engine[Any]) -> None:
    assert engine.residency in Residency


@pytest.mark.parametrize(
    ("path", "end"),
    [
        pytest.param(["load"], CPU, id="loaded"),
        pytest.param(["wake"], GPU, id="woken from disk"),
        pytest.param(["load", "wake"], GPU, id="woken from host RAM"),
        pytest.param(["wake", "offload"], CPU, id="offloaded"),
        pytest.param(["wake", "offload", "wake"], GPU, id="woken again"),
        pytest.param(["load", "unload"], UNLOADED, id="unloaded from host RAM"),
        pytest.param(["wake", "unload"], UNLOADED, id="unloaded from the GPU"),
        pytest.param(["wake", "unload", "wake"], GPU, id="loaded again"),
    ],
)
def test_each_move_ends_where_it_says(engine: Engine[Any], path: list[str], end: Residency) -> None:
    for move in path:
        getattr(engine, move)()
    assert engine.residency is end


def test_what_a_demotion_gave_back_is_measured(engine: Engine[Any]) -> None:
    engine.wake()
    for released in (engine.offload(), engine.unload()):
        assert isinstance(released, Released)
        assert released.nbytes >= 0
        assert released.residual >= 0


def test_bytes_and_estimates_are_told_in_each_tier(engine: Engine[Any]) -> None:
    for move in (engine.load, engine.wake, engine.offload, engine.unload):
        move()
        assert engine.device_bytes >= 0
        assert engine.host_bytes >= 0
        assert engine.dirty in (True, False)
        estimate = engine.estimate_seconds()
        assert estimate is None or estimate >= 0
    assert engine.device_bytes == 0, "unloaded, it takes nothing on the device"


def test_uses_are_let_in_and_the_work_they_queued_is_waited_for(engine: Engine[Any]) -> None:
    engine.wake()
    engine.admit()
    assert engine.model is not None
    fence = engine.fence()
    engine.shut()
    fence.wait()
    assert fence.done()
    engine.offload()


@pytest.mark.parametrize("name", FAILING)
def test_a_wake_that_fails_leaves_a_whole_tier_and_nothing_on_the_device(name: str) -> None:
    make, tiers = FAILING[name]
    engine = make()
    with pytest.raises(DormouseError):
        engine.wake()
    engine.clean_up()
    assert engine.residency in tiers
    assert engine.device_bytes == 0
    if engine.residency is CPU:
        engine.unload()
    assert engine.residency is UNLOADED


def test_each_engine_has_a_wake_that_fails() -> None:
    assert {name.partition(":")[0] for name in FAILING} == ENGINES.keys()


def test_an_unload_that_is_refused_moves_nothing() -> None:
    """Of the engines that can tell a change; one that can't has nothing to refuse."""
    engine = torch_weights()
    engine.wake()
    engine.admit()
    engine.model.bias.data += 1
    engine.shut()
    with pytest.raises(ModelChanged):
        engine.unload()
    assert engine.residency is GPU
    assert engine.dirty


def test_cleaning_up_and_examining_change_nothing(engine: Engine[Any]) -> None:
    engine.wake()
    engine.clean_up()
    engine.device.examine()
    assert engine.device.broken is None
    assert engine.residency is GPU
    assert engine.device.occupancy().total == engine.device.memory().total


def test_under_a_slot_many_uses_and_demotions_end_well(engine: Engine[Any]) -> None:
    slot: Slot[Any] = Slot("tts", engine, SlotSettings(idle_timeout_seconds=None), Telemetry())
    stop, errors = threading.Event(), list[BaseException]()

    def use() -> None:
        try:
            while not stop.wait(0.001):
                with Hold(slot, 30) as model:
                    assert model is not None
                    assert engine.residency is GPU
        except BaseException as error:
            errors.append(error)

    def demoted() -> bool:
        with suppress(ModelBusy):
            move = slot.begin_move(next(targets))
            return move is not None and move.settled.result(30) is None
        return False

    targets = itertools.cycle((CPU, CPU, UNLOADED))
    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for _ in range(20):
        until(demoted)
    stop.set()
    for user in users:
        user.join(30)
    assert not errors
    last = slot.view.snapshot().last_transition
    assert last is not None
    assert last.outcome is TransitionOutcome.OK
