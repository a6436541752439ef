"""What the contract allows is accepted, and the defaults are what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SELECTOR = {"selector": {"matchLabels": {"app": "tts"}}}
WINDOW = {"cron": "0 8 * * 1-5", "timeZone": "Asia/Shanghai", "durationSeconds": 36000, "residency": "GPU"}


def with_policy(**policy: Any) -> dict[str, Any]:
    return {**SELECTOR, "policy": policy}


def with_window(**changes: Any) -> dict[str, Any]:
    return with_policy(schedule=[{**WINDOW, **changes}])


EVERYTHING = {
    "selector": {"matchLabels": {"app": "tts", "app.kubernetes.io/name": "step-audio"}},
    "model": "tts",
    "mode": "Observe",
    "residency": "CPU",
    "residencyUntil": "2026-12-01T00:00:00Z",
    "policy": {
        "offloadAfterSeconds": 600,
        "unloadAfterSeconds": 7200,
        "minResidentSeconds": 60,
        "wakeBudgetSeconds": 30,
        "schedule": [WINDOW],
    },
}

GOOD = {
    "only a selector": SELECTOR,
    "every field": EVERYTHING,
    "an empty label value": {"selector": {"matchLabels": {"gpu": ""}}},
    "a label value of 63 characters": {"selector": {"matchLabels": {"app": "x" * 63}}},
    "sixteen labels": {"selector": {"matchLabels": {f"l{n}": "x" for n in range(16)}}},
    "a model name of one character": {**SELECTOR, "model": "a"},
    "a model name of 63 characters": {**SELECTOR, "model": "a" * 63},
    "paused": {**SELECTOR, "mode": "Paused"},
    "held on the GPU": {**SELECTOR, "residency": "GPU"},
    "put out of memory": {**SELECTOR, "residency": "Unloaded"},
    "residencyUntil while Auto, which ignores it": {
        **SELECTOR,
        "residencyUntil": "2026-12-01T08:00:00+08:00",
    },
    "an empty policy": with_policy(),
    "offload as soon as a task ends": with_policy(offloadAfterSeconds=0),
    "unload without offload": with_policy(unloadAfterSeconds=1),
    "unload one second after offload": with_policy(offloadAfterSeconds=600, unloadAfterSeconds=601),
    "durations of a year": with_policy(offloadAfterSeconds=31535999, unloadAfterSeconds=31536000),
    "no minimum and no waiting": with_policy(minResidentSeconds=0, wakeBudgetSeconds=0),
    "an empty schedule": with_policy(schedule=[]),
    "thirty-two windows": with_policy(schedule=[WINDOW] * 32),
    "a window in UTC": with_window(timeZone="UTC"),
    "a window held in host RAM": with_window(residency="CPU"),
    "a cron with names, steps and lists": with_window(cron="*/15 8-18 1,15 JAN-JUN MON-FRI"),
    "a window of a week": with_window(durationSeconds=604800),
}


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD.keys())
def test_is_accepted(apply: Callable[..., str], spec: dict[str, Any]) -> None:
    assert "created" in apply(spec)


def test_defaults_are_written_out(apply: Callable[..., str], stored: Callable[[], dict[str, Any]]) -> None:
    apply(SELECTOR)
    assert stored()["spec"] == {
        **SELECTOR,
        "mode": "Active",
        "residency": "Auto",
        "policy": {"minResidentSeconds": 60, "wakeBudgetSeconds": 30},
    }


def test_every_field_is_kept_as_written(apply: Callable[..., str], stored: Callable[[], dict[str, Any]]) -> None:
    apply(EVERYTHING)
    assert stored()["spec"] == EVERYTHING


def test_what_may_change_can_be_changed_and_taken_back(
    apply: Callable[..., str], stored: Callable[[], dict[str, Any]]
) -> None:
    apply(EVERYTHING)
    least = {"selector": EVERYTHING["selector"], "model": "tts"}
    assert "configured" in apply(least)
    assert stored()["spec"]["residency"] == "Auto"
    assert "residencyUntil" not in stored()["spec"]
    assert "offloadAfterSeconds" not in stored()["spec"]["policy"]
