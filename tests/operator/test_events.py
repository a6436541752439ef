"""What is told, and that it is told once."""

from __future__ import annotations

from dormouse_operator.events import condition_events
from dormouse_operator.resources import managed_model as typed
from dormouse_operator.status import Condition, Status

from .objects import NOW, managed_model

SINCE = "2027-01-15T08:00:00Z"


def status(**reasons: str) -> Status:
    return Status(tuple(Condition(kind, "False", reason, "why", 1, SINCE) for kind, reason in reasons.items()))


def told(before: Status, after: Status) -> list[tuple[str, str]]:
    made = condition_events(typed(managed_model()), before, after, NOW, "me")
    return [(event["reason"], event["metadata"]["name"]) for event in made]


def test_one_cause_that_turns_two_conditions_is_told_once() -> None:
    found = told(Status(), status(Ready="Untrusted", ReplicasReachable="Untrusted"))
    assert [reason for reason, _ in found] == ["Untrusted"]


def test_what_was_bad_before_and_what_is_normal_is_not_told() -> None:
    assert told(status(Ready="Untrusted"), status(ReplicasReachable="Untrusted")) == []
    assert told(Status(), status(Ready="Transitioning")) == []


def test_the_same_news_has_the_same_name_whoever_tells_it() -> None:
    news = status(Ready="NoReplicas")
    assert told(Status(), news) == told(Status(), news)
    assert told(Status(), news)[0][1].startswith("tts.")
