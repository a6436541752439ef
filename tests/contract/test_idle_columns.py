"""A column is said once: a new line of the reading is asked for, read, joined and compared."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest
from dormouse_contract import Residency, metrics
from dormouse_contract.idleness import (
    COLUMNS,
    Asked,
    IdleSignal,
    Reading,
    SignalState,
    build,
    join,
    join_exported,
    reading,
)
from dormouse_contract.idleness.columns import agreed, as_column, column, counted, earliest, present
from dormouse_contract.promql import idle_signal
from dormouse_operator.idle_signal.changes import changed_namespaces, changed_pods
from hypothesis import given
from hypothesis import strategies as st

KEY = ("speech", "tts-0", "tts")
LABELS = dict(zip(("namespace", "pod", "model"), KEY, strict=True))
NOW = 1_800_000_000.0
FRESH = 30.0


@dataclass(frozen=True)
class Answer:
    samples: tuple[tuple[dict[str, str], float], ...]
    evaluated_at: float = NOW
    warning: str = ""


RESIDENCIES = Answer((({**LABELS, "residency": "GPU"}, 1.0),))


def looked(**values: float) -> IdleSignal:
    given = {"in_flight": 0.0, "idle_since": NOW - 100, "sampled_at": NOW - 1} | values
    return build(RESIDENCIES, {name: Answer(((LABELS, value),)) for name, value in given.items()})


@dataclass(frozen=True, slots=True)
class Wider(Reading):
    """A reading with a column more."""

    waiting: float | None = column(metrics.HELD_REQUESTS, agreed)


@pytest.fixture
def one_column_more(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = tuple(found for each in fields(Wider) if (found := as_column(each)) is not None)
    for module in (reading, join, idle_signal):
        monkeypatch.setattr(module, "COLUMNS", wider)
    monkeypatch.setattr(reading, "Reading", Wider)


def test_a_new_column_is_asked_for_read_joined_and_compared(one_column_more: None) -> None:
    assert idle_signal.columns()["waiting"] == metrics.HELD_REQUESTS.name
    one, other = looked(waiting=1), looked(waiting=2)
    assert [each.readings[KEY].waiting for each in (one, other)] == [1, 2]  # type: ignore[attr-defined]
    assert changed_pods(one, other, FRESH) == {KEY[:2]}
    assert looked(waiting=math.nan).see(KEY, FRESH).state is SignalState.INVALID
    raw = [
        (metrics.RESIDENCY.name, {**LABELS, "residency": "GPU"}, 1.0, NOW),
        (metrics.HELD_REQUESTS.name, LABELS, 3, NOW),
    ]
    assert join_exported(raw, NOW).signal().readings[KEY].waiting == 3  # type: ignore[attr-defined]


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case Residency():
            return Residency.CPU
        case str():
            return f"{value}!"
    return (value or 0) + 1


SEEN = looked(last_transition=5, released_bytes=5, gpu_memory_bytes=5).readings[KEY]


@pytest.mark.parametrize("name", [each.name for each in fields(Reading)])
def test_a_reading_that_differs_in_any_field_is_noticed_but_for_the_moment_of_its_scrape(name: str) -> None:
    before = IdleSignal({KEY: SEEN}, evaluated_at=NOW)
    after = IdleSignal({KEY: replace(SEEN, **{name: another(getattr(SEEN, name))})}, evaluated_at=NOW)
    expected = frozenset() if name == "sampled_at" else {KEY[:2]}
    assert changed_pods(before, after, FRESH) == expected


def test_a_reading_that_became_old_is_noticed() -> None:
    signal = IdleSignal({KEY: SEEN}, evaluated_at=NOW)
    assert changed_pods(signal, replace(signal, evaluated_at=NOW + FRESH - 2), FRESH) == frozenset()
    assert changed_pods(signal, replace(signal, evaluated_at=NOW + FRESH), FRESH) == {KEY[:2]}


# What is compared by itself, or is another one at each look and in no verdict.
OF_THE_LOOK = {"readings", "models_by_pod", "evaluated_at", "clock_ahead_seconds", "retry_after_seconds", "ignored"}
OF_A_NAMESPACE = {"asked", "unread", "too_large"}
CHANGES: dict[str, Any] = {"failure_state": SignalState.PROMETHEUS_THROTTLED, "silent": {("a", "b"): "away"}}


@pytest.mark.parametrize("name", sorted({each.name for each in fields(IdleSignal)} - OF_THE_LOOK - OF_A_NAMESPACE))
def test_a_look_that_differs_in_any_circumstance_may_concern_anybody(name: str) -> None:
    before = IdleSignal({KEY: SEEN}, evaluated_at=NOW)
    value = CHANGES[name] if name in CHANGES else another(getattr(before, name))
    assert changed_pods(before, replace(before, **{name: value}), FRESH) is None


@pytest.mark.parametrize(
    ("before", "after", "namespaces"),
    [
        ({"asked": {"a"}}, {"asked": {"a", "b"}}, {"b"}),
        ({"asked": {"a", "b"}}, {"asked": {"a"}}, set()),
        ({}, {"unread": {("a", "a-0"): "too large"}}, {"a"}),
        ({"unread": {("a",): "not in time"}}, {"unread": {("a",): "too large"}}, {"a"}),
        ({"unread": {("a",): "not in time"}}, {}, {"a"}),
        ({}, {"too_large": {"a"}}, set()),
    ],
    ids=["asked for the first time", "asked no more", "too large", "for another reason", "well again", "by pod"],
)
def test_what_concerns_a_namespace_concerns_no_other(
    before: dict[str, Any], after: dict[str, Any], namespaces: set[str]
) -> None:
    one, other = (IdleSignal({KEY: SEEN}, evaluated_at=NOW, **each) for each in (before, after))
    assert changed_pods(one, other, FRESH) == frozenset()
    assert changed_namespaces(one, other) == namespaces


def test_a_new_circumstance_is_compared_too() -> None:
    @dataclass(frozen=True, slots=True)
    class WiderLook(IdleSignal):
        mood: str = field(default="")

    before = WiderLook({KEY: SEEN}, evaluated_at=NOW)
    assert changed_pods(before, replace(before, mood="low"), FRESH) is None


def test_queries_are_those_that_were_always_asked_and_one_for_what_was_refused() -> None:
    assert idle_signal.residencies() == "dormouse_model_residency == 1"
    assert idle_signal.columns('pod="a"') == {
        "in_flight": 'dormouse_model_in_flight_requests{pod="a"}',
        "idle_since": 'dormouse_model_idle_since_timestamp_seconds{pod="a"}',
        "sampled_at": 'timestamp(dormouse_model_idle_since_timestamp_seconds{pod="a"})',
        "last_transition": 'dormouse_model_last_transition_timestamp_seconds{pod="a"}',
        "released_bytes": 'dormouse_model_gpu_memory_released_bytes{pod="a"}',
        "gpu_memory_bytes": 'dormouse_model_gpu_memory_bytes{pod="a"}',
        "transitioning": 'dormouse_model_transition_start_timestamp_seconds{pod="a"} > 0',
        "unload_refused": 'dormouse_model_unload_refused{pod="a"} > 0',
    }


@given(
    st.dictionaries(st.sampled_from([each.name for each in COLUMNS]), st.floats()), st.sampled_from(["GPU", "Moon", ""])
)
def test_whatever_is_found_is_a_reading_that_equals_itself(values: dict[str, float], tier: str) -> None:
    found = {name: (value,) for name, value in values.items()}
    one, other = (reading.read(KEY, {tier}, found) for _ in range(2))
    assert one == other
    seen = IdleSignal({KEY: one}, evaluated_at=NOW).see(KEY, FRESH)
    assert not seen.observation.idleness_known or not one.fault


FIGURES = ["in_flight", "idle_since", "last_transition", "released_bytes", "gpu_memory_bytes"]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("value", [1e308, 2.0**54, math.inf, -math.inf, math.nan, -1.0, 1e18])
def test_a_figure_that_can_not_be_is_named_and_holds_the_replica(name: str, value: float) -> None:
    found = looked(**{name: value})
    read = found.readings[KEY]
    assert name in read.fault
    assert getattr(read, name) is None
    seen = found.see(KEY, FRESH)
    assert seen.state is SignalState.INVALID
    assert not seen.observation.idleness_known


@pytest.mark.parametrize("name", ["idle_since", "last_transition"])
def test_a_time_after_the_year_9999_is_none(name: str) -> None:
    assert name in looked(**{name: 253_402_300_800.0}).readings[KEY].fault


@pytest.mark.parametrize("value", [1e18, -1.0, math.nan, math.inf])
def test_a_sample_of_no_time_is_of_unknown_age(value: float) -> None:
    found = looked(sampled_at=value)
    assert found.see(KEY, FRESH).state is SignalState.STALE


def test_half_a_request_is_no_count_and_never_none_at_all() -> None:
    assert "in_flight" in looked(in_flight=0.5).readings[KEY].fault


@given(st.lists(st.floats(), max_size=40))
def test_no_sum_of_what_is_believed_overflows(values: list[float]) -> None:
    read = [looked(released_bytes=value, gpu_memory_bytes=value).readings[KEY] for value in values]
    assert math.isfinite(sum(each.released_bytes or 0.0 for each in read) * 1e6)


def other_model(name: str, namespace: str = "speech") -> tuple[dict[str, str], float]:
    return ({"namespace": namespace, "pod": "tts-0", "model": name, "residency": "GPU"}, 1.0)


def test_a_model_whose_name_is_none_is_ignored_and_counted_by_its_namespace() -> None:
    odd = [other_model(name) for name in ("TTS", "a\nb", "x" * 64, "../a", "a b")] + [other_model("A", "Not a name\n")]
    found = build(Answer((*RESIDENCIES.samples, *odd)), {})
    assert set(found.readings) == {KEY}
    assert found.models_of("speech", "tts-0") == {"tts"}
    assert dict(found.ignored) == {"speech": 5, "": 1}


def test_what_is_ignored_is_counted_for_a_bounded_number_of_namespaces() -> None:
    found = build(Answer(tuple(other_model("A", f"n-{number}") for number in range(1000))), {})
    assert len(found.ignored) <= join.MOST_NAMESPACES + 1
    assert sum(found.ignored.values()) == 1000
    assert not found.readings


def test_any_number_of_values_of_one_figure_takes_no_longer_than_of_many() -> None:
    values = tuple((LABELS | {"extra": str(number)}, float(number)) for number in range(200_000))
    began = time.monotonic()
    found = build(RESIDENCIES, {name: Answer(values) for name in ("in_flight", "idle_since", "sampled_at")})
    assert time.monotonic() - began < 20
    assert found.see(KEY, FRESH).state is SignalState.INVALID
    assert found.readings[KEY].sampled_at is None


def test_any_number_of_tiers_is_a_short_sentence() -> None:
    tiers = tuple((LABELS | {"residency": f"tier\n{number}" * 40}, 1.0) for number in range(10_000))
    fault = build(Answer(tiers), {}).readings[KEY].fault
    assert len(fault) < 300
    assert fault.isprintable()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([each.metric.name for each in COLUMNS] + [metrics.RESIDENCY.name, "up"]),
            st.dictionaries(
                st.sampled_from(["namespace", "pod", "model", "residency", "job"]), st.sampled_from(["a", "GPU"])
            ),
            st.floats(),
            st.none() | st.floats(),
        ),
        max_size=12,
    )
)
def test_whatever_pods_export_is_joined(samples: list[tuple[str, dict[str, str], float, float | None]]) -> None:
    signal = join_exported(samples, NOW).signal()
    for key in signal.readings:
        signal.see(key, FRESH)


@pytest.mark.parametrize(
    ("check", "nothing"),
    [
        pytest.param(agreed, None, id="agreed"),
        pytest.param(counted, None, id="counted"),
        pytest.param(earliest, None, id="earliest"),
        pytest.param(present, False, id="present"),
    ],
)
def test_nothing_is_said_by_nothing(check: Any, nothing: Any) -> None:
    assert check(()) is nothing


def test_each_way_of_asking_is_known_to_both_sources() -> None:
    for asked in Asked:
        assert asked.of(5.0, 7.0) in (5.0, 7.0)
    assert Asked.POSITIVE.of(0.0, 7.0) is None
