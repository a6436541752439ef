"""The judge of the suite itself: what it lets pass, and what it doesn't."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from .verdict import Health, Witnessed, bound, causes, findings, p99

TICK = 1.0
BASELINE = 1.0
CALM = Witnessed(seconds=10, delays=(0.2, 0.9, 1.1), health=(Health(200, 0.01),) * 20, log=())
FAILED = "2026-11-27 02:47:47,{0:03d} WARNING dormouse_operator.replicas: bad/m-{0} of p-{0} was refused: HTTP 5{0:02d}"
ORDERED = "2026-11-27 02:47:47,000 INFO dormouse_operator.replicas: a/b: main of p ordered to CPU (idle): {}"


def judged(**changed: object) -> list[str]:
    return findings(replace(CALM, **changed), BASELINE, TICK, forged=("FORGED",))


def test_a_fleet_that_noticed_nothing_is_well() -> None:
    assert judged() == []


def test_the_bound_is_a_quarter_more_and_a_tick() -> None:
    assert bound(BASELINE, TICK) == 2.25
    assert judged(delays=(2.2,)) == []
    (found,) = judged(delays=(0.1, 2.3))
    assert "honest orders are late: p99 2.3 s" in found


def test_the_longest_of_few_is_their_p99() -> None:
    assert p99([0.1] * 98 + [9.0]) == 9.0
    assert p99([0.1] * 99 + [9.0]) == 0.1
    assert p99([]) == math.inf


@pytest.mark.parametrize("changed", [{"delays": ()}, {"health": ()}])
def test_nothing_measured_is_a_finding(changed: dict[str, object]) -> None:
    assert len(judged(**changed)) == 1


@pytest.mark.parametrize("status", [0, 503])
def test_one_look_at_health_that_was_not_200_is_a_finding(status: int) -> None:
    assert any("/healthz" in each for each in judged(health=(*CALM.health, Health(status, 3.0))))


def test_lines_that_differ_in_figures_have_one_cause() -> None:
    lines = [FAILED.format(number) for number in range(3)]
    assert [len(each) for each in causes(lines).values()] == [3]
    assert judged(log=lines[:1]) == []
    (found,) = judged(log=lines)
    assert "the log has 3 lines" in found
    assert judged(log=lines, seconds=130) == []


def test_orders_that_are_taken_may_be_many_and_refused_ones_not() -> None:
    assert judged(log=[ORDERED.format("done")] * 9) == []
    assert judged(log=[ORDERED.format("cannot_now")] * 9) != []


@pytest.mark.parametrize("text", ["\x1b[31m", "\x00", "\u2028", "\u202e", "\x9b", "\r"])
def test_what_a_terminal_takes_for_a_command_is_a_finding(text: str) -> None:
    assert any("control characters" in each for each in judged(log=[FAILED.format(1) + text]))


def test_a_line_that_a_pod_wrote_is_a_finding_and_its_text_in_another_line_is_none() -> None:
    assert any("a pod wrote a line" in each for each in judged(log=["FORGED and more"]))
    assert judged(log=[FAILED.format(1) + " FORGED"]) == []


def test_lines_without_end_strays_and_who_was_not_named_are_findings() -> None:
    assert any("characters" in each for each in judged(log=["x" * 10_000]))
    assert any("what was not for it" in each for each in judged(strays=["a"]))
    assert judged(unnamed=["no condition"]) == ["not named: no condition"]
