"""However often a replica's series are there, what is kept of it is small and what it means is certain."""

from __future__ import annotations

import tracemalloc

import pytest
from dormouse_contract import metrics
from dormouse_contract.idleness import IdleSignal, SignalState, join_exported
from dormouse_contract.idleness.columns import MOST_VALUES

NOW = 1_800_000_000.0
KEY = ("speech", "tts-0", "tts")
LABELS = {"namespace": "speech", "pod": "tts-0", "model": "tts"}
GIVEN = {
    metrics.IN_FLIGHT: 0.0,
    metrics.IDLE_SINCE: NOW - 100,
    metrics.LAST_TRANSITION: NOW - 500,
    metrics.RELEASED: 0.0,
    metrics.GPU_MEMORY: 1024.0,
}


def joined(copies: int, *, tiers: int = 1, differ: str = "", ages: int = 1) -> IdleSignal:
    """A replica whose series are there `copies` times. `differ`: the metric whose values are all different."""
    samples = [
        (metrics.RESIDENCY.name, {**LABELS, "residency": "GPU" if not n % tiers else f"Tier{n % tiers}"}, 1.0, NOW - 1)
        for n in range(copies)
    ]
    samples += [
        (each.name, {**LABELS, "copy": str(n)}, value + (n if each.name == differ else 0), NOW - 1 - n % ages)
        for n in range(copies)
        for each, value in GIVEN.items()
    ]
    return join_exported(samples, NOW).signal()


@pytest.mark.parametrize("copies", [1, 2, MOST_VALUES, 500])
def test_copies_that_agree_are_one(copies: int) -> None:
    assert joined(copies).see(KEY, 30).state is SignalState.FRESH


@pytest.mark.parametrize("copies", [2, MOST_VALUES, MOST_VALUES + 1, 500])
@pytest.mark.parametrize("metric", GIVEN, ids=lambda metric: metric.name)
def test_copies_that_disagree_in_any_figure_are_not_believed(metric: metrics.Metric, copies: int) -> None:
    seen = joined(copies, differ=metric.name).see(KEY, 30)
    assert seen.state is SignalState.INVALID
    assert "given more than once" in seen.observation.unknown_because


@pytest.mark.parametrize("tiers", [2, MOST_VALUES, MOST_VALUES + 1, 300])
def test_a_replica_on_several_tiers_is_nowhere(tiers: int) -> None:
    seen = joined(300, tiers=tiers).see(KEY, 30)
    assert seen.state is SignalState.INVALID
    assert seen.observation.residency is None
    assert len(seen.observation.unknown_because) < 400


def test_of_a_few_scrapes_the_oldest_counts_and_of_very_many_none() -> None:
    assert joined(500, ages=MOST_VALUES).see(KEY, 30).observation.signal_age_seconds == MOST_VALUES
    assert joined(500, ages=300).see(KEY, 1000).state is SignalState.STALE


def test_the_words_are_the_same_in_whatever_order_they_come() -> None:
    samples = [(metrics.RESIDENCY.name, {**LABELS, "residency": f"Tier{n}"}, 1.0, NOW) for n in range(300)]
    one, other = (join_exported(each, NOW).signal() for each in (samples, reversed(samples)))
    assert one.readings == other.readings


def test_a_hundred_thousand_copies_are_not_kept() -> None:
    samples = [
        (metrics.IDLE_SINCE.name, LABELS, NOW - n, None)
        if n % 2
        else (metrics.RESIDENCY.name, {**LABELS, "residency": str(n)}, 1.0, None)
        for n in range(100_000)
    ]
    tracemalloc.start()
    fleet = join_exported(samples, NOW)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fleet.signal().see(KEY, 30).state is SignalState.INVALID
    assert kept < 1_000_000
