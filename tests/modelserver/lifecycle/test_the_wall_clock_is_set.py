"""The wall clock is set while the server runs: moments that leave it are right again, and nothing sleeps for it."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from dormouse_contract.wire import PolicyLoan
from dormouse_modelserver import ModelBusy, Residency, ResidencyManager
from dormouse_modelserver.lifecycle import clock
from dormouse_modelserver.lifecycle.clock import STEP_SECONDS, WallCorrection
from dormouse_modelserver.server.panel import reading
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import until

from .conftest import Loads, Manage, load_doubler

HOUR = 3600.0
_real_time = time.time


class TwoClocks:
    """A steady clock and a wall clock, both moved by hand."""

    def __init__(self) -> None:
        self.steady = self.wall = 1_800_000_000.0
        self.between = 0.0

    def pass_(self, seconds: float, *, slewed: float = 0.0) -> None:
        self.steady += seconds
        self.wall += seconds + slewed

    def correction(self) -> WallCorrection:
        return WallCorrection(lambda: self.steady, self._read_wall)

    def _read_wall(self) -> float:
        self.steady += self.between
        return self.wall


@pytest.fixture
def clocks() -> TwoClocks:
    return TwoClocks()


@pytest.mark.parametrize("step", [HOUR, -HOUR, 50 * 365 * 24 * HOUR, -1_799_999_999.0, STEP_SECONDS])
def test_a_step_is_followed_at_once_and_exactly(clocks: TwoClocks, step: float) -> None:
    correction = clocks.correction()
    assert correction() == 0
    clocks.wall += step
    assert correction() == pytest.approx(step)
    clocks.pass_(10)
    clocks.wall -= step
    assert correction() == pytest.approx(0)


def test_what_is_exported_keeps_still_while_the_wall_clock_is_slewed(clocks: TwoClocks) -> None:
    correction = clocks.correction()
    clocks.wall += HOUR
    after = correction()
    for _ in range(40):
        clocks.pass_(5, slewed=0.01)
        assert correction() == after
    for _ in range(20):
        clocks.pass_(5, slewed=0.01)
    assert abs(clocks.steady + correction() - clocks.wall) < STEP_SECONDS, "yet it never drifts away"


def test_a_pause_between_the_two_readings_is_no_step(clocks: TwoClocks) -> None:
    correction = clocks.correction()
    clocks.between = 2.0
    for _ in range(5):
        assert correction() == 0, "a busy machine reads them two seconds apart"


def test_a_suspended_machine_is_a_step_of_the_wall_clock(clocks: TwoClocks) -> None:
    """Monotonic time stands still meanwhile: nobody was idle, and what was left then is shown as just now."""
    correction = clocks.correction()
    ended = clocks.steady
    clocks.pass_(10)
    clocks.wall += 8 * HOUR
    assert ended + correction() == pytest.approx(clocks.wall - 10)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets this process' wall clock off by so many seconds, as `date` would; steady time goes on."""
    monkeypatch.setattr(clock.wall_correction, "_seconds", 0.0)
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: _real_time() + seconds)


@pytest.fixture
def asleep(manage: Manage) -> ResidencyManager:
    """With a model that was used and moved away, so that it has every moment there is."""
    manager = manage(idle_timeout=300, unload_timeout=600)
    tts = manager.register("tts", load=load_doubler)
    with tts.on_gpu():
        pass
    tts.move_to(Residency.CPU)
    return manager


@pytest.fixture
def port(asleep: ResidencyManager) -> Iterator[TestClient]:
    app = FastAPI(openapi_url=None)
    asleep.install(app)
    with TestClient(app) as client:
        yield client


def moments(port: TestClient) -> dict[str, float]:
    """Each moment that leaves the process: in the metrics, the snapshot, and what the page is given."""
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(port.get("/dormouse/metrics").text)
        for sample in family.samples
        if sample.name.endswith("_timestamp_seconds") and sample.value
    }
    snapshot = port.get("/dormouse/v1/models/tts").json()
    found |= {"snapshot end": snapshot["lastRequestEnd"], "snapshot move": snapshot["lastTransition"]["time"]}
    state = port.get("/dormouse/v1/panel").json()
    model = state["models"][0]
    found |= {"page now": state["now"], "page start": state["startedAt"], "page idle": model["idleSince"]}
    found |= {f"page move {at}": move["time"] for at, move in enumerate(model["recent"])}
    found |= {"page next": model["nextMove"]["at"] - 600}
    history = port.get("/dormouse/v1/gpu-memory").json()["samples"]
    return found | ({"sample": history[0]["time"]} if history else {})


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 30 * 365 * 24 * HOUR, -30 * 365 * 24 * HOUR])
def test_every_moment_that_leaves_is_right_by_the_clock_that_was_set(
    port: TestClient, wall: Callable[[float], None], seconds: float
) -> None:
    before = moments(port)
    assert len(before) >= 10
    wall(seconds)
    after = moments(port)
    assert after.keys() >= before.keys() - {"sample"}
    for name, moment in after.items():
        assert abs(moment - time.time()) < 60, f"{name} is right"
        assert name not in before or abs(moment - before[name] - seconds) < 30, name


def test_the_page_says_since_when_a_use_lasts_by_the_clock_that_was_set(
    asleep: ResidencyManager, port: TestClient, wall: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONG_USE_SECONDS", 0.0)
    with asleep["tts"].on_gpu():
        wall(-HOUR)
        (use,) = port.get("/dormouse/v1/panel").json()["models"][0]["longUses"]
    assert abs(use["since"] - time.time()) < 60


def test_moments_keep_still_once_the_clock_is_right(port: TestClient, wall: Callable[[float], None]) -> None:
    wall(HOUR)
    first, again = (port.get("/dormouse/v1/models/tts").json() for _ in range(2))
    assert first["lastRequestEnd"] == again["lastRequestEnd"]
    assert first["lastTransition"] == again["lastTransition"]


@pytest.mark.parametrize("seconds", [24 * HOUR, -24 * HOUR])
def test_a_clock_that_is_set_demotes_nothing_and_counts_no_time(
    manage: Manage, wall: Callable[[float], None], seconds: float
) -> None:
    tts = manage(idle_timeout=600).register("tts", load=load_doubler)
    with tts.on_gpu():
        pass
    wall(seconds)
    assert 0 <= tts.snapshot().idle_seconds < 60
    with pytest.raises(ModelBusy):
        tts.move_to(Residency.CPU, if_idle_for=600)
    tts._slot._changed(tts._slot)  # the idle timer looks at it
    assert tts.snapshot().residency is Residency.GPU
    assert tts._slot.view.outlook()[1].idle_since == pytest.approx(clock.steady_unix_time(), abs=60)


def test_a_short_idle_timeout_still_passes_with_the_clock_a_day_back(
    manage: Manage, wall: Callable[[float], None]
) -> None:
    tts = manage(idle_timeout=0.2).register("tts", load=load_doubler)
    with tts.on_gpu():
        wall(-24 * HOUR)
    until(lambda: tts.snapshot().residency is Residency.CPU)


def test_a_lent_policy_is_valid_for_its_seconds_whatever_the_clock_says(
    manage: Manage, wall: Callable[[float], None]
) -> None:
    tts = manage(idle_timeout=600).register("tts", load=load_doubler)
    tts._slot.lend(PolicyLoan(keep_alive_seconds=5, valid_for_seconds=3600))
    wall(7200)
    assert tts._slot.view.settings.idle_timeout_seconds == 5
    tts._slot.lend(PolicyLoan(keep_alive_seconds=5, valid_for_seconds=0.1))
    wall(-7200)
    until(lambda: tts._slot.view.settings.idle_timeout_seconds == 600)


def test_a_move_under_way_began_by_the_clock_that_was_set(
    manage: Manage, wall: Callable[[float], None], loads: Loads
) -> None:
    tts = manage().register("tts", load=loads)
    loads.may_go_on.clear()
    waking = threading.Thread(target=lambda: tts.move_to(Residency.GPU))
    waking.start()
    assert loads.began.wait(10)
    wall(HOUR)
    doing = tts.snapshot().transition
    loads.may_go_on.set()
    waking.join(10)
    assert doing is not None
    assert abs(doing.started_at - time.time()) < 60
