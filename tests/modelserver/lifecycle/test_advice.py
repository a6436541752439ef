"""Advice on timeouts: what it suggests, what it says other timeouts would have done, and where it can be read."""

import math
from itertools import pairwise

import httpx
import pytest
from dormouse_contract.wire import ModelList, ReplayedTimeout
from dormouse_modelserver import Model, Residency, ResidencyManager
from dormouse_modelserver.lifecycle.history.advice import CANDIDATES_SECONDS, Observed, advise, suggest
from dormouse_modelserver.lifecycle.history.arrivals import MAX_AGE_SECONDS, MAX_BURSTS, Arrivals, Burst
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from .conftest import Manage

SECONDS = st.floats(0, 1e5, allow_nan=False)
TIMEOUTS = st.sampled_from(CANDIDATES_SECONDS) | st.floats(0, 1e5)


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    now, bursts = 0.0, []
    for pause, length, arrivals in draw(st.lists(st.tuples(SECONDS, SECONDS, st.integers(1, 500)), max_size=30)):
        bursts.append(Burst(now + pause, now + pause + length, arrivals))
        now = bursts[-1].ended
    return Observed(
        now=now + draw(SECONDS),
        since=0.0,
        bursts=tuple(bursts),
        in_use=draw(st.booleans()),
        gpu_memory_bytes=draw(st.none() | st.integers(1, 10**11)),
        restore_seconds=draw(st.none() | st.floats(0, 100)),
        load_seconds=draw(st.none() | st.floats(0, 1000)),
        idle_timeout_seconds=draw(st.none() | TIMEOUTS),
        unload_timeout_seconds=draw(TIMEOUTS),
    )


def by_timeout(observed: Observed) -> dict[str, ReplayedTimeout]:
    return {row.setting: row for row in advise(observed).replayed}


# What it suggests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_minute", "timeout"),
    [(10.01, math.inf), (10, 600), (5, 600), (1, 600), (0.99, 1800), (0.001, 1800)],
)
def test_the_table_by_use(per_minute: float, timeout: float) -> None:
    assert suggest(per_minute) == timeout


def seen(*arrivals: float, now: float, idle_timeout: float | None = 600.0) -> Observed:
    """Uses of one second each on a model of 1,000 bytes that comes back in 2 s, in 10 s from disk."""
    bursts = tuple(Burst(arrival, arrival + 1) for arrival in arrivals)
    return Observed(now, 0.0, bursts, False, 1000, 2.0, 8.0, idle_timeout, 3600.0)


def test_twenty_uses_in_a_minute_suggest_never_and_one_in_an_hour_half_an_hour() -> None:
    busy = advise(seen(*range(0, 60, 3), now=60)).suggested
    rare = advise(seen(0, now=3600)).suggested
    assert busy is not None
    assert rare is not None
    assert (busy.setting, busy.idle_timeout_seconds, busy.because) == ("never", None, "20 uses a minute, more than 10")
    assert (rare.setting, rare.idle_timeout_seconds) == ("1800", 1800)
    assert rare.because == "0.0167 uses a minute, fewer than 1"


def test_a_first_use_a_second_ago_is_no_rate_of_sixty_a_minute() -> None:
    assert advise(seen(0, now=1)).arrivals_per_minute == 1


def test_without_any_use_nothing_is_suggested() -> None:
    advice = advise(seen(now=1e6))
    assert (advice.suggested, advice.arrivals) == (None, 0)
    assert all(row.asleep_seconds == row.waits == 0 for row in advice.replayed)


# What it replays ----------------------------------------------------------------------------------


def test_a_morning_replayed_by_hand() -> None:
    # Pauses: 99 s and 899 s that an arrival ended, and 4,999 s that is still open.
    rows = by_timeout(seen(0, 100, 1000, now=6000, idle_timeout=90.0))
    told = {name: (row.asleep_seconds, row.waits, row.waited_seconds) for name, row in rows.items()}
    assert told["0"] == (99 + 899 + 4999, 2, 4.0)
    assert told["90"] == (9 + 809 + 4909, 2, 4.0)
    assert told["300"] == (599 + 4699, 1, 2.0)
    assert told["1800"] == (3199, 0, 0.0)
    assert told["never"] == (0, 0, 0.0)
    assert rows["300"].gpu_memory_saved_byte_seconds == 1000 * (599 + 4699)
    assert [name for name, row in rows.items() if row.current] == ["90"]


def test_a_wake_from_disk_costs_the_load_as_well() -> None:
    row = by_timeout(seen(0, 5000, now=5001))["600"]
    assert (row.waits, row.waited_seconds) == (1, 2 + 8)


def test_where_an_operator_decides_no_timeout_is_called_current() -> None:
    assert not any(row.current for row in advise(seen(0, now=60, idle_timeout=None)).replayed)


def test_what_was_not_measured_is_not_told() -> None:
    unknown = Observed(4000.0, 0.0, (Burst(0, 1), Burst(2000, 2001)), False, None, None, None, 600.0)
    row = by_timeout(unknown)["600"]
    assert (row.waits, row.waited_seconds, row.gpu_memory_saved_byte_seconds) == (1, None, None)
    assert row.asleep_seconds > 0


@given(observations())
def test_it_is_total_and_the_same_twice(observed: Observed) -> None:
    advice = advise(observed)
    assert advice == advise(observed)
    settings = [row.setting for row in advice.replayed]
    assert len(set(settings)) == len(settings)
    assert settings[-1] == "never"
    assert sum(row.current for row in advice.replayed) == (observed.idle_timeout_seconds is not None)
    assert sum(row.suggested for row in advice.replayed) == bool(observed.bursts)


@given(observations())
def test_a_longer_timeout_never_saves_more_and_never_costs_more_waits(observed: Observed) -> None:
    for shorter, longer in pairwise(advise(observed).replayed):
        assert shorter.asleep_seconds >= longer.asleep_seconds
        assert shorter.waits >= longer.waits


@given(observations())
def test_never_saves_and_costs_nothing_and_nothing_saves_more_than_the_pauses(observed: Observed) -> None:
    rows = advise(observed).replayed
    assert (rows[-1].asleep_seconds, rows[-1].waits, rows[-1].waited_seconds) == (0, 0, 0)
    in_use = sum(burst.ended - burst.began for burst in observed.bursts)
    longest = max(0.0, observed.now - in_use)
    assert all(0 <= row.asleep_seconds <= longest * (1 + 1e-9) + 1e-6 for row in rows)
    assert all(row.waits <= max(0, len(observed.bursts) - 1) for row in rows)


@given(st.floats(0, 1000))
def test_three_timeouts_are_suggested_and_never_only_to_a_busy_model(per_minute: float) -> None:
    assert suggest(per_minute) in (math.inf, 600.0, 1800.0)
    assert (suggest(per_minute) == math.inf) == (per_minute > 10)


# What is observed ---------------------------------------------------------------------------------


def test_uses_that_overlap_are_one_burst() -> None:
    arrivals = Arrivals(0)
    arrivals.arrived(1, alone=True)
    arrivals.arrived(2, alone=False)
    arrivals.ended(3)
    arrivals.ended(5)
    arrivals.arrived(9, alone=True)
    assert arrivals.bursts(9) == (Burst(1, 5, 2), Burst(9, 9, 1))


def test_what_is_kept_is_bounded_and_since_says_from_when_on_it_is_complete() -> None:
    arrivals = Arrivals(0)
    for second in range(3 * MAX_BURSTS):
        arrivals.arrived(second, alone=True)
        arrivals.ended(second + 0.5)
    kept = arrivals.bursts(3 * MAX_BURSTS)
    assert len(kept) <= MAX_BURSTS
    assert arrivals.since == kept[0].began - 0.5
    later = kept[-1].ended + MAX_AGE_SECONDS
    assert arrivals.bursts(later) == kept[-1:], "a day later only the last one is there"


def test_real_uses_are_observed_joins_and_failures_included(manager: ResidencyManager, tts: Model[nn.Linear]) -> None:
    with tts.on_gpu(), tts.on_gpu():
        pass
    with pytest.raises(KeyError), tts.on_gpu():
        raise KeyError
    advice = manager.advice()["tts"]
    assert (advice.arrivals, advice.gpu_memory_bytes) == (3, 512)
    assert advice.restore_seconds is not None
    tts.move_to(Residency.CPU)
    assert manager.advice()["tts"].gpu_memory_bytes == 512, "asleep it is known as well"


def test_with_offload_after_each_task_the_timeout_in_force_is_0(manage: Manage) -> None:
    manager = manage(idle_timeout=600.0, after_task="offload")
    manager.register("tts", load=lambda: nn.Linear(4, 4))
    assert [row.setting for row in manager.advice()["tts"].replayed if row.current] == ["0"]


# Where it is read ---------------------------------------------------------------------------------


async def test_it_stands_beside_the_models_and_readers_of_the_list_accept_it(
    manager: ResidencyManager, tts: Model[nn.Linear]
) -> None:
    app = FastAPI()
    manager.install(app)
    async with tts.on_gpu():
        pass
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        text = (await client.get("/dormouse/v1/models")).text
    listed = ModelList.model_validate_json(text)
    assert [model.name for model in listed.models] == ["tts"]
    assert listed.advice is not None
    assert listed.advice["tts"].arrivals == 1
    assert '"suggested":{"setting":"600","idleTimeoutSeconds":600.0,"because":"1 uses a minute' in text
