"""What a replica is lent."""

from __future__ import annotations

import pytest
from dormouse_contract import Mode, Policy, Residency, Window
from dormouse_operator.loans import Lent, Terms, due_at, terms_for, valid_for

from .objects import NOW


@pytest.mark.parametrize(
    ("offload", "keep_alive"),
    [
        pytest.param(0, 0, id="as soon as a task ends"),
        pytest.param(29, 29, id="below two scrapes"),
        pytest.param(30, None, id="Prometheus can decide it"),
        pytest.param(None, None, id="never"),
    ],
)
def test_only_short_timers_are_local(offload: float | None, keep_alive: float | None) -> None:
    terms = terms_for(Policy(offload_after_seconds=offload), 15, NOW)
    assert terms == Terms(keep_alive, 60, 30, pinned=False)


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.OBSERVE])
def test_nothing_is_lent_by_one_who_does_not_act(mode: Mode) -> None:
    assert terms_for(Policy(mode=mode), 15, NOW) is None


def test_a_manual_gpu_pins_until_it_ends() -> None:
    policy = Policy(residency=Residency.GPU, residency_until=NOW + 100)
    before, after = terms_for(policy, 15, NOW), terms_for(policy, 15, NOW + 100)
    assert before is not None
    assert after is not None
    assert (before.pinned, after.pinned) == (True, False)
    assert valid_for(policy, NOW) == 100
    assert valid_for(policy, NOW + 100) == 3600


def test_a_loan_is_due_when_new_changed_or_at_half_its_time() -> None:
    terms = Terms(None, 60, 30, pinned=False)
    lent = Lent(terms, "me", 1, NOW, 3600)
    assert due_at(terms, "me", None, "r") <= NOW
    assert due_at(Terms(0, 60, 30, pinned=False), "me", lent, "r") <= NOW
    assert NOW + 1400 < due_at(terms, "me", lent, "r") <= NOW + 1800


def test_a_short_timer_rests_while_a_window_holds_the_model_on_the_gpu() -> None:
    eight = 1_772_438_400.0  # 2026-03-02 08:00 UTC
    window = Window("0 8 * * *", "UTC", 3600, Residency.GPU)
    policy = Policy(offload_after_seconds=0, schedule=(window,))
    keep_alive = [
        terms.keep_alive_seconds
        for now in (eight - 60, eight + 60, eight + 3660)
        if (terms := terms_for(policy, 15, now)) is not None
    ]
    assert keep_alive == [0, None, 0]
