"""A day of random faults against what may never happen; and that each such thing would be noticed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from dormouse_contract import Mode, Observation, Policy, plan
from dormouse_contract.idleness import IdleSignal, ReplicaKey, Seen
from dormouse_operator import view
from dormouse_operator.lending import Lending

from .day import Day
from .judge import Judge
from .replica import VirtualSlot
from .virtual_time import run_virtually

SEEDS = [int(text) for text in os.environ.get("DORMOUSE_SIMULATION_SEEDS", "1,2,3").split(",")]


def live_through(seed: int) -> Judge:
    random.seed(seed)  # the jitter of the back-off
    return run_virtually(Day(seed).live())


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_that_may_never_happen_happens(seed: int) -> None:
    judge = live_through(seed)
    assert not judge.violations, judge.report(seed)
    # A day on which nothing happened would prove nothing.
    for what in ("requests", "demotion Idle", "wake Demand", "orders Idle", "leaders", "edit", "pod is replaced"):
        assert judge.counts[what] >= 5, judge.counts


def _stale_is_fresh(patch: pytest.MonkeyPatch) -> None:
    see = IdleSignal.see

    def believe(self: IdleSignal, key: ReplicaKey, fresh_for_seconds: float, *more: Any) -> Seen:
        return see(self, key, float("inf"), *more)

    patch.setattr(IdleSignal, "see", believe)


def _no_minimum_residence(patch: pytest.MonkeyPatch) -> None:
    def hasty(policy: Policy, seen: Observation, now: float) -> Any:
        return plan(replace(policy, min_resident_seconds=0), seen, now)

    patch.setattr(view, "plan", hasty)


def _paused_is_active(patch: pytest.MonkeyPatch) -> None:
    def deaf(policy: Policy, seen: Observation, now: float) -> Any:
        return plan(replace(policy, mode=Mode.ACTIVE), seen, now)

    patch.setattr(view, "plan", deaf)


def _use_is_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VirtualSlot, "_check_unused", lambda *_: None)


def _loans_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lending, "withdraw", lambda *_: None)
    patch.setattr(Lending, "lend", lambda *_: None)


@pytest.mark.parametrize(
    ("break_it", "noticed"),
    [
        pytest.param(_stale_is_fresh, "on an unknown signal", id="stale figures are believed"),
        pytest.param(_no_minimum_residence, "demoted by the ladder", id="the minimum residence is forgotten"),
        pytest.param(_paused_is_active, "of an owner that is deleted, paused", id="Paused is overlooked"),
        pytest.param(_use_is_not_asked_for, "is demoted", id="the replica does not look whether it is in use"),
        pytest.param(_loans_stay, "the loan", id="policies are never lent"),
    ],
)
def test_the_day_notices_an_operator_that_is_broken(
    break_it: Callable[[pytest.MonkeyPatch], None], noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    for seed in SEEDS:
        judge = live_through(seed)
        if judge.violations:
            assert noticed in judge.violations[0], judge.report(seed)
            return
    pytest.fail("nothing was noticed")
