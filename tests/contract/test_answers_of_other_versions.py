"""What a newer library answers is read as far as it is known: no replica is lost for a word that is new."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dormouse_contract import Residency, TransitionOutcome, Trigger
from dormouse_contract.problems import Problem, ProblemReason
from dormouse_contract.wire import (
    ModelList,
    ModelReport,
    ModelReports,
    ModelSnapshot,
    PolicyLoan,
    ResidencyOrder,
    Wire,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from .crd_values import anything
from .test_wire import LOAN, ORDER, SNAPSHOT

NOW: dict[str, Any] = json.loads(SNAPSHOT.to_json())


def newer(**changes: Any) -> dict[str, Any]:
    return NOW | changes


@pytest.mark.parametrize("kind", [ModelSnapshot, ModelReport])
def test_a_field_that_is_new_is_passed_over(kind: type[Wire]) -> None:
    known = kind.from_json(json.dumps(NOW))
    moved = {**NOW["lastTransition"], "draining": {"since": 5}}
    going = {**NOW["transition"], "draining": True}
    assert kind.from_json(json.dumps(newer(tiers=["GPU"], claim=None, lastTransition=moved, transition=going))) == known


def test_a_list_with_more_than_models_is_the_same_list() -> None:
    body = json.dumps({"models": [newer(engine="vllm")], "features": ["claims", "drain"]})
    assert ModelList.from_json(body).models == [SNAPSHOT]
    assert [each.name for each in ModelReports.from_json(body).models] == ["tts"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"trigger": "Claim"}, ("GPU", "CPU", "Claim", "ok")),
        ({"to": "Disk"}, ("GPU", "Disk", "Idle", "ok")),
        ({"from": "Remote"}, ("Remote", "CPU", "Idle", "ok")),
        ({"outcome": "postponed"}, ("GPU", "CPU", "Idle", "postponed")),
    ],
)
def test_a_word_that_is_new_is_told_as_it_is(change: dict[str, str], word: tuple[str, ...]) -> None:
    report = ModelReport.from_json(json.dumps(newer(lastTransition=NOW["lastTransition"] | change)))
    moved = report.last_transition
    assert moved is not None
    assert (moved.from_, moved.to, moved.trigger, moved.outcome) == word


def test_words_that_are_known_are_what_they_are() -> None:
    moved = ModelReport.from_json(json.dumps(NOW)).last_transition
    assert moved is not None
    assert moved.from_ is Residency.GPU
    assert moved.trigger is Trigger.IDLE
    assert moved.outcome is TransitionOutcome.OK


@given(st.dictionaries(st.sampled_from([*sorted(NOW)[:-1], "new"]), anything), anything)
def test_whatever_else_is_said_the_model_is_there(changes: dict[str, Any], moved: Any) -> None:
    body = newer(**changes) | {"name": "tts", "lastTransition": moved}
    try:
        text = json.dumps({"models": [body, *changes.values()]})
        text.encode()
    except UnicodeEncodeError:
        return
    assert "tts" in [each.name for each in ModelReports.model_validate_json(text).models]


MOVED = NOW["lastTransition"]


@pytest.mark.parametrize(
    "odd",
    [
        7,
        "yesterday",
        {},
        {"from": "GPU"},
        MOVED | {"time": "now"},
        MOVED | {"releasedBytes": 10**400},
        MOVED | {"to": 2},
    ],
)
def test_a_transition_that_can_not_be_read_is_none_that_we_know_of(odd: Any) -> None:
    report = ModelReport.from_json(json.dumps(newer(lastTransition=odd)))
    assert (report.name, report.last_transition) == ("tts", None)


def test_a_problem_of_a_newer_version_keeps_its_sentence() -> None:
    body = {"title": "Not now", "status": 409, "detail": "The model drains.", "reason": "Draining", "since": 5}
    problem = Problem.model_validate_json(json.dumps(body))
    assert (problem.detail, problem.reason) == ("The model drains.", "Draining")
    assert Problem.model_validate_json(json.dumps(body | {"reason": "InUse"})).reason is ProblemReason.IN_USE


@pytest.mark.parametrize(("kind", "body"), [(ResidencyOrder, ORDER), (PolicyLoan, LOAN)])
def test_an_order_with_a_field_that_is_new_is_refused(kind: type[Wire], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.from_json(json.dumps({**body, "drainSeconds": 5}))
