"""The words of a spec as somebody wrote them, for people: those of a newer version too, which mean nothing here."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..policy import Mode

AUTO = "Auto"
_MAX_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class WindowWording:
    cron: str
    time_zone: str
    duration_seconds: int
    residency: str


@dataclass(frozen=True, slots=True)
class Wording:
    """What counts is the policy; where the two differ, a problem says so."""

    mode: str = str(Mode.ACTIVE)
    residency: str = AUTO
    schedule: tuple[WindowWording, ...] = ()


def read_wording(spec: Mapping[str, Any]) -> Wording:
    policy = spec.get("policy")
    listed = policy.get("schedule") if isinstance(policy, Mapping) else None
    return Wording(
        _word(spec.get("mode"), Mode.ACTIVE),
        _word(spec.get("residency"), AUTO),
        tuple(_window(each) for each in (listed if isinstance(listed, list) else ()) if isinstance(each, Mapping)),
    )


def _window(entry: Mapping[str, Any]) -> WindowWording:
    seconds = entry.get("durationSeconds")
    return WindowWording(
        _word(entry.get("cron"), ""),
        _word(entry.get("timeZone"), ""),
        seconds if type(seconds) is int else 0,
        _word(entry.get("residency"), ""),
    )


def _word(said: object, default: str) -> str:
    # Thousands of objects say the same few.
    return sys.intern(str(default if said is None else said)[:_MAX_CHARACTERS])
