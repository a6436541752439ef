"""What a spec asks for. Reading it is total: each value is understood, or it is a problem that a condition shows.

The schema refuses most of what makes no sense. What is left comes from a newer CRD than this program, or is of a kind
that a schema can't judge. Then the safe thing holds: nothing is pinned, nothing is ordered, nobody is selected.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..defaults import MIN_RESIDENT_SECONDS, WAKE_BUDGET_SECONDS
from ..policy import Mode, Policy
from ..residency import Residency
from ..schedule import InvalidSchedule, Window
from ..timestamps import from_rfc3339
from ..wire import MAX_SECONDS, MODEL_NAME_PATTERN
from .foreign import mapping
from .wording import AUTO, Wording, read_wording

_MODEL_NAME = re.compile(MODEL_NAME_PATTERN)
_MAX_QUOTED = 64

Labels = tuple[tuple[str, str], ...]


class SpecProblemReason(StrEnum):
    """The values are reasons of the condition Ready."""

    INVALID_SCHEDULE = "InvalidSchedule"
    INVALID_SPEC = "InvalidSpec"


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """A part of the spec that is not understood. `message` says what, what holds meanwhile, and what to write."""

    reason: SpecProblemReason
    message: str


@dataclass(frozen=True, slots=True)
class Spec:
    """selector: empty selects nothing; that is never what was asked for, and a problem says so.

    model: None is all models of the pods.
    """

    selector: Labels
    model: str | None
    policy: Policy
    wording: Wording
    problems: tuple[SpecProblem, ...] = ()


def read_spec(body: object, residency_since: float | None = None) -> Spec:
    """`residency_since`: when the manual residency was set (Unix seconds), if that is known."""
    reader = _Reader(body)
    selector, model = reader.selector(), reader.model()
    policy = reader.policy(residency_since)
    unknown = model is _UNKNOWN
    wording = read_wording(mapping(body))
    return Spec(() if unknown else selector, None if unknown else model, policy, wording, reader.problems)


_UNKNOWN = "?"
"""No model can have this name."""


class _Reader:
    """One reading of one spec, which collects what it does not understand."""

    def __init__(self, body: object) -> None:
        self._spec = mapping(body)
        self._policy = mapping(self._spec.get("policy"))
        self._problems: list[SpecProblem] = []

    @property
    def problems(self) -> tuple[SpecProblem, ...]:
        return tuple(self._problems)

    def selector(self) -> Labels:
        selector = mapping(self._spec.get("selector"))
        labels = mapping(selector.get("matchLabels"))
        more = sorted(str(name) for name, value in selector.items() if name != "matchLabels" and value)
        if more:
            self._misunderstood(
                f"selector has {_quoted(', '.join(more))}, which is not known here", "no pod is selected", "matchLabels"
            )
            return ()
        if not labels or not all(isinstance(text, str) for pair in labels.items() for text in pair):
            self._misunderstood("selector.matchLabels has no label", "no pod is selected", "at least one label")
            return ()
        return tuple(sorted((sys.intern(key), sys.intern(value)) for key, value in labels.items()))

    def model(self) -> str | None:
        named = self._spec.get("model")
        if named is None or (isinstance(named, str) and _MODEL_NAME.fullmatch(named)):
            return named
        self._misunderstood(f"model is {_quoted(named)}, which no model can be named", "no pod is selected", "its name")
        return _UNKNOWN

    def policy(self, residency_since: float | None) -> Policy:
        residency, until = self._override()
        offload = self._seconds("offloadAfterSeconds", None)
        unload = self._seconds("unloadAfterSeconds", None)
        if offload is not None and unload is not None and not unload > offload:
            self._misunderstood(
                f"policy.unloadAfterSeconds is {unload:g} and offloadAfterSeconds {offload:g}",
                "idleness never unloads it",
                "a longer time for the unload",
            )
            unload = None
        return Policy(
            mode=self._mode(),
            residency=residency,
            residency_since=residency_since,
            residency_until=until,
            offload_after_seconds=offload,
            unload_after_seconds=unload,
            min_resident_seconds=self._seconds("minResidentSeconds", MIN_RESIDENT_SECONDS) or 0,
            wake_budget_seconds=self._seconds("wakeBudgetSeconds", WAKE_BUDGET_SECONDS) or 0,
            schedule=self._schedule(),
        )

    def _mode(self) -> Mode:
        said = self._spec.get("mode")
        try:
            return Mode.ACTIVE if said is None else Mode(said)
        except ValueError:
            self._misunderstood(f"mode is {_quoted(said)}", "nothing is ordered", _choice(Mode))
            return Mode.PAUSED

    def _override(self) -> tuple[Residency | None, float | None]:
        """The manual residency and its end. With an end that can't be read it counts as over: a pin must end."""
        said, until = self._spec.get("residency"), self._spec.get("residencyUntil")
        if said is None or said == AUTO:
            return None, None
        try:
            residency = Residency(said)
        except ValueError:
            self._misunderstood(
                f"residency is {_quoted(said)}", f"it counts as {AUTO}", f"{AUTO}, {_choice(Residency)}"
            )
            return None, None
        if until is None:
            return residency, None
        try:
            return residency, from_rfc3339(until if isinstance(until, str) else repr(until))
        except ValueError:
            self._misunderstood(
                f"residencyUntil is {_quoted(until)}, which is no time",
                f"residency counts as {AUTO}",
                "a time such as 2026-12-01T00:00:00Z",
            )
            return None, None

    def _seconds(self, name: str, default: float | None) -> float | None:
        said = self._policy.get(name)
        if said is None:
            return default
        if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= MAX_SECONDS:
            return said
        meanwhile = "never" if default is None else f"{default:g}"
        self._misunderstood(
            f"policy.{name} is {_quoted(said)}", f"it counts as {meanwhile}", f"seconds from 0 to {MAX_SECONDS}"
        )
        return default

    def _schedule(self) -> tuple[Window, ...]:
        said = self._policy.get("schedule")
        windows: list[Window] = []
        for position, entry in enumerate(said if isinstance(said, list) else () if said is None else [said]):
            try:
                windows.append(_window(mapping(entry)))
            except InvalidSchedule as error:
                self._note(
                    SpecProblemReason.INVALID_SCHEDULE,
                    f"policy.schedule[{position}]: {error}.",
                )
        return tuple(windows)

    def _misunderstood(self, what: str, meanwhile: str, instead: str) -> None:
        self._note(SpecProblemReason.INVALID_SPEC, f"{what}, so {meanwhile}. Write {instead}.")

    def _note(self, reason: SpecProblemReason, message: str) -> None:
        self._problems.append(SpecProblem(reason, message))


def _window(entry: Mapping[str, Any]) -> Window:
    cron, zone, seconds = entry.get("cron"), entry.get("timeZone"), entry.get("durationSeconds")
    if not isinstance(cron, str) or not isinstance(zone, str):
        raise InvalidSchedule("cron and timeZone are needed, for example 0 8 * * 1-5 and Europe/Berlin")
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise InvalidSchedule(f"durationSeconds is {_quoted(seconds)}; write whole seconds")
    try:
        residency = Residency(str(entry.get("residency")))
    except ValueError as error:
        raise InvalidSchedule(f"residency is {_quoted(entry.get('residency'))}; write GPU or CPU") from error
    return Window(cron, zone, seconds, residency)


def _quoted(value: object) -> str:
    """Foreign text for a condition: one line, not long."""
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def _choice(words: type[StrEnum]) -> str:
    return " or ".join(words)
