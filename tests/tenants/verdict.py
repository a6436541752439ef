"""What a fleet went through while one tenant was bad, and whether the others noticed. No I/O, no clock."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SLOWER_AT_MOST = 1.25
# Each cause may be in the log once, and once more for each minute.
LINES_PER_MINUTE = 1
LONGEST_LINE = 8192
LATE = "honest orders are late"
# As much of a line as says what it is about, once names and figures are out.
CAUSE_CHARACTERS = 72

_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) (\S+): (.*)$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_VARYING = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+(?:\.\d+)?")
_AN_ORDER_THAT_WAS_TAKEN = re.compile(r" ordered to \S+ \(.*\): (done|under_way)\b")


@dataclass(frozen=True, slots=True)
class Health:
    """One look at `/healthz`: status 0 is no answer."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Witnessed:
    """delays: of the honest models, seconds. log: the operator's lines. strays: what reached honest pods astray.

    unnamed: how the bad tenant should have been named and was not.
    """

    seconds: float
    delays: Sequence[float]
    health: Sequence[Health]
    log: Sequence[str]
    strays: Sequence[str] = ()
    unnamed: Sequence[str] = ()

    @property
    def p99(self) -> float:
        return p99(self.delays)

    @property
    def worst_health(self) -> str:
        bad = [each.status for each in self.health if each.status != 200]
        slowest = max((each.seconds for each in self.health), default=math.nan)
        return f"{len(self.health) - len(bad)}/{len(self.health)} at 200, slowest {slowest:.2f} s"


def p99(delays: Iterable[float]) -> float:
    """The nearest rank, so that of fewer than a hundred it is the longest."""
    ordered = sorted(delays)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else math.inf


def bound(baseline: float, tick_seconds: float) -> float:
    return SLOWER_AT_MOST * baseline + tick_seconds


def findings(seen: Witnessed, baseline: float, tick_seconds: float, forged: Sequence[str] = ()) -> list[str]:
    """What does not hold, in words; empty when the others noticed nothing. `forged`: what no line may begin with."""
    found = [*_delayed(seen, baseline, tick_seconds), *_unhealthy(seen.health), *_log(seen, forged)]
    found += [f"an honest pod got what was not for it: {stray}" for stray in seen.strays[:3]]
    return found + [f"not named: {what}" for what in seen.unnamed]


def causes(lines: Iterable[str]) -> dict[str, list[str]]:
    """The lines by what they are about. What belongs to a line before it, as a traceback does, is no line."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        read = _LINE.match(line)
        if read is not None and not (read[1] == "INFO" and _AN_ORDER_THAT_WAS_TAKEN.search(read[3])):
            found[f"{read[1]} {read[2]}: {_VARYING.sub('#', read[3])[:CAUSE_CHARACTERS]}"].append(line)
    return dict(found)


def _delayed(seen: Witnessed, baseline: float, tick_seconds: float) -> Iterable[str]:
    most = bound(baseline, tick_seconds)
    if not seen.delays:
        yield "no honest model became idle: nothing was measured"
    elif seen.p99 > most:
        late = sum(delay > most for delay in seen.delays)
        yield (
            f"{LATE}: p99 {seen.p99:.1f} s, at most {most:.1f} s is right (without the bad one "
            f"{baseline:.1f} s); {late} of {len(seen.delays)} are"
        )


def _unhealthy(health: Sequence[Health]) -> Iterable[str]:
    bad = [each for each in health if each.status != 200]
    if not health:
        yield "/healthz was never asked"
    elif bad:
        yield f"/healthz was {bad[0].status or 'no answer'} for {len(bad)} of {len(health)} looks"


def _log(seen: Witnessed, forged: Sequence[str]) -> Iterable[str]:
    most = LINES_PER_MINUTE * (1 + int(seen.seconds // 60))
    for cause, lines in causes(seen.log).items():
        if len(lines) > most:
            yield f"the log has {len(lines)} lines in {seen.seconds:.0f} s of: {cause}"
    for line in seen.log:
        if len(line) > LONGEST_LINE:
            yield f"a line of the log has {len(line)} characters: {line[:120]!r}"
            break
    for line in seen.log:
        if _CONTROL.search(line):
            yield f"control characters in the log: {line[:200]!r}"
            break
    for text in forged:
        if any(line.startswith(text) for line in seen.log):
            yield f"a pod wrote a line of the log: {text!r}"
