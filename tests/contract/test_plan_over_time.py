"""What `plan()` does when its decisions are carried out and time goes on."""

from dataclasses import replace

from dormouse_contract import Action, Mode, Observation, Policy, Residency, plan
from hypothesis import assume, given
from hypothesis import strategies as st

from .strategies import idle_replicas, moments, policies


@given(policies(), moments(), st.floats(0, 1))
def test_revisit_at_is_honest_nothing_changes_before_it(
    policy: Policy, moment: tuple[Observation, float], part: float
) -> None:
    """Between now and `revisit_at` (forever, when there is none) an unchanged replica gets the same decision."""
    seen, now = moment
    decision = plan(policy, seen, now)
    until = decision.revisit_at if decision.revisit_at is not None else now + 30 * 86_400
    assume(until > now)
    later = min(now + part * (min(until, now + 30 * 86_400) - now), until - 1e-3)
    assume(later > now)
    again = plan(policy, seen, later)
    assert (again.action, again.desired, again.if_idle_for_seconds) == (
        decision.action,
        decision.desired,
        decision.if_idle_for_seconds,
    )


@given(policies(modes=(Mode.ACTIVE,)), moments())
def test_a_decision_taken_too_early_by_the_clock_is_never_revisited_in_the_past(
    policy: Policy, moment: tuple[Observation, float]
) -> None:
    seen, now = moment
    decision = plan(policy, seen, now)
    if decision.action is Action.HOLD and decision.revisit_at is not None:
        assert decision.revisit_at >= now


@given(policies(schedules=False, modes=(Mode.ACTIVE,)), idle_replicas())
def test_without_demand_the_ladder_goes_down_only_and_comes_to_rest(
    policy: Policy, moment: tuple[Observation, float]
) -> None:
    """Apply each order at once and jump to each `revisit_at`: no tier is ever left twice."""
    seen, now = moment
    policy = replace(policy, residency=None)
    tiers = [seen.residency]
    for _ in range(10):
        decision = plan(policy, seen, now)
        if decision.action is Action.ORDER:
            seen = replace(seen, residency=decision.desired, resident_since=now)
            tiers.append(decision.desired)
        elif decision.revisit_at is None or decision.revisit_at == float("inf"):
            break
        else:
            now = max(decision.revisit_at, now) + 1e-3
    else:
        raise AssertionError(f"it never came to rest: {tiers}")
    ranks = [tier.tier for tier in tiers if tier is not None]
    assert ranks == sorted(set(ranks), reverse=True), "it flapped"


@given(policies(modes=(Mode.ACTIVE,)), idle_replicas(), st.lists(st.floats(1, 10_000), max_size=30))
def test_once_carried_out_an_order_is_not_given_again_at_the_same_moment(
    policy: Policy, moment: tuple[Observation, float], steps: list[float]
) -> None:
    seen, now = moment
    for step in steps:
        decision = plan(policy, seen, now)
        if decision.action is Action.ORDER:
            assert decision.desired is not None
            woke = seen.residency is not None and decision.desired.is_above(seen.residency)
            seen = replace(
                seen,
                residency=decision.desired,
                resident_since=now if woke else seen.resident_since,
                idle_since=now if woke else seen.idle_since,
            )
            again = plan(policy, seen, now)
            settles = again.action is not Action.ORDER or decision.desired.is_above(again.desired or Residency.GPU)
            assert settles, "ordered up again at once"
        now += step


@given(st.floats(1, 10_000), st.floats(0, 10_000))
def test_the_first_rung_is_ordered_exactly_when_revisit_at_said(after: float, idle: float) -> None:
    assume(idle < after)
    now = 1_800_000_000.0
    policy = Policy(offload_after_seconds=after, min_resident_seconds=0)
    seen = Observation(Residency.GPU, 0, idle_since=now - idle)
    decision = plan(policy, seen, now)
    assume(decision.action is Action.HOLD)
    assert decision.revisit_at is not None
    assert plan(policy, seen, decision.revisit_at + 1e-3).desired is Residency.CPU
