"""An answer is read as far as it can be believed: no figure and no text of it can do harm behind the door."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from dormouse_contract.problems import Problem, ProblemReport
from dormouse_contract.wire import (
    MAX_BYTES,
    MAX_MODELS,
    MAX_SECONDS,
    MAX_TEXT_CHARACTERS,
    LastTransitionSnapshot,
    ModelReport,
    ModelReports,
    OrderStamp,
    ResidencyOrder,
    TransitionReport,
    is_model_name,
)
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from .crd_values import anything
from .test_wire import ORDER, SNAPSHOT, STAMP

NOW: dict[str, Any] = json.loads(SNAPSHOT.to_json())
MOVED: dict[str, Any] = NOW["lastTransition"]
NUMBERS = ["1e18", "-1", "1e308", "-1e308", "1e999", "NaN", "Infinity", "-Infinity", "9" * 400, "-" + "9" * 400]
TIMES = [*NUMBERS, "253402300800", "1.5e300", '"1800000000"', "null", "true", "[]"]
FORGED = "idle\n2026-01-01 INFO dormouse: all is well\x1b[2K\u202e"
json_numbers = st.floats().map(json.dumps) | st.integers().map(json.dumps) | st.sampled_from(NUMBERS)


def said(**changes: str) -> ModelReport:
    """A snapshot whose last transition has these, each as JSON."""
    moved = json.dumps(MOVED | {name: f"HERE {name}" for name in changes})
    for name, value in changes.items():
        moved = moved.replace(f'"HERE {name}"', value)
    return ModelReport.from_json(json.dumps(NOW | {"lastTransition": "MOVED"}).replace('"MOVED"', moved))


def believable(moved: TransitionReport) -> bool:
    texts = (moved.reason, *map(str, (moved.from_, moved.to, moved.trigger, moved.outcome)))
    return (
        0 <= moved.time <= 253_402_300_799
        and 0 <= moved.seconds <= MAX_SECONDS
        and abs(moved.released_bytes) <= MAX_BYTES
        and all(text.isprintable() and len(text) <= MAX_TEXT_CHARACTERS for text in texts)
    )


@pytest.mark.parametrize("field", ["time", "seconds", "releasedBytes"])
@pytest.mark.parametrize("value", TIMES)
def test_a_figure_that_can_not_be_hides_the_transition_and_not_the_model(field: str, value: str) -> None:
    report = said(**{field: value})
    assert report.name == "tts"
    assert report.last_transition is None or believable(report.last_transition)
    if value in NUMBERS and (field, value) != ("releasedBytes", "-1"):
        assert report.last_transition is None


@pytest.mark.parametrize(("field", "value"), [("time", "253402300799"), ("time", "0"), ("seconds", "0.0")])
def test_the_ends_of_what_can_be_are_believed(field: str, value: str) -> None:
    assert said(**{field: value}).last_transition is not None


@given(json_numbers, json_numbers, json_numbers, st.text(max_size=50))
@example("1e18", "1", "1", "x")
def test_whatever_figures_come_what_is_read_is_believable(time: str, seconds: str, released: str, reason: str) -> None:
    moved = said(time=time, seconds=seconds, releasedBytes=released, reason=json.dumps(reason)).last_transition
    assert moved is None or believable(moved) or not reason.isprintable()


def test_a_reason_is_one_line_and_no_longer_than_a_status_has_room() -> None:
    moved = said(reason=json.dumps(FORGED), to='"Di\\nsk"').last_transition
    assert moved is not None
    assert moved.reason.count("\N{REPLACEMENT CHARACTER}") == 3
    assert moved.to == "Di\N{REPLACEMENT CHARACTER}sk"
    long = said(reason=json.dumps("x" * 100_000)).last_transition
    assert long is not None
    assert len(long.reason) == MAX_TEXT_CHARACTERS


def test_the_library_itself_says_no_reason_of_two_lines() -> None:
    moved = LastTransitionSnapshot.model_validate(
        SNAPSHOT.last_transition.model_dump() | {"reason": FORGED}  # type: ignore[union-attr]
    )
    assert moved.reason.isprintable()


BAD_NAMES = ["", "TTS", "tts\n", "tts\x1b[2K", "t t s", "-tts", "x" * 64, "../admin", "t\u200bts", "ťts"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_no_model_can_have_is_ignored_and_counted(name: str) -> None:
    read = ModelReports.from_json(json.dumps({"models": [NOW | {"name": name}, NOW]}))
    assert [each.name for each in read.models] == ["tts"]
    assert read.ignored == 1
    assert not is_model_name(name)


def test_each_model_is_told_once_and_the_count_is_ours() -> None:
    told = [NOW, NOW | {"lastTransition": None}, 7, None, {"name": 3}, "tts"]
    read = ModelReports.from_json(json.dumps({"models": told, "ignored": -5}))
    assert [(each.name, each.last_transition is not None) for each in read.models] == [("tts", True)]
    assert read.ignored == 5


def test_no_more_models_are_read_than_a_pod_can_have() -> None:
    read = ModelReports.from_json(json.dumps({"models": [{"name": f"m{number}"} for number in range(5000)]}))
    assert len(read.models) == MAX_MODELS


@given(anything)
def test_reading_is_total(document: Any) -> None:
    """Of any document: what is meant, or the one error that says that it is none."""
    try:
        text = json.dumps(document)
        text.encode()
    except UnicodeEncodeError:
        return
    for kind in (ModelReports, ModelReport, ProblemReport):
        try:
            kind.from_json(text)
        except ValidationError:
            continue


@given(st.binary(max_size=200))
def test_reading_is_total_for_what_is_no_document(body: bytes) -> None:
    for kind in (ModelReports, ModelReport, ProblemReport):
        try:
            kind.from_json(body)
        except ValidationError:
            continue


@given(anything, anything, anything)
def test_each_part_of_a_problem_stands_by_itself(title: Any, detail: Any, reason: Any) -> None:
    try:
        body = json.dumps({"title": title, "status": 10**400, "detail": detail, "reason": "InUse", "more": reason})
        body.encode()
    except UnicodeEncodeError:
        return
    read = ProblemReport.from_json(body)
    assert read.reason == "InUse"
    assert len(f"{read.title}{read.detail}".splitlines()) <= 1


def test_a_problem_that_we_answer_is_one_line() -> None:
    problem = Problem(title="No", status=404, detail=f"There is nothing at {FORGED}", reason="NotFound")
    assert problem.detail.isprintable()


@pytest.mark.parametrize("name", ["owner", "issuer"])
def test_who_orders_has_a_name_that_can_be_shown(name: str) -> None:
    assert getattr(OrderStamp.from_json(json.dumps(STAMP | {name: "5f\n0c"})), name) == "5f\ufffd0c"
    assert ResidencyOrder.from_json(json.dumps(ORDER | {"reason": FORGED})).reason.isprintable()


def test_a_figure_of_a_float_is_a_float() -> None:
    moved = said(time="5", seconds="1").last_transition
    assert moved is not None
    assert math.isfinite(moved.time)
