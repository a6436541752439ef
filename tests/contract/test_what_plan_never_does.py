"""Properties of `plan()` that hold whatever it is given."""

import math
from dataclasses import replace

from dormouse_contract import Action, Decision, Mode, Observation, Policy, Residency, Trigger, plan
from hypothesis import assume, example, given
from hypothesis import strategies as st

from .strategies import idle_replicas, moments, policies

_ORDERED = (Action.ORDER, Action.WOULD_ORDER)


def demotes(decision: Decision, at: Residency | None) -> bool:
    """Whether carrying out the decision could take weights away, counting a blind order as one that could."""
    if decision.action not in _ORDERED or decision.desired is None:
        return False
    return at.is_above(decision.desired) if at is not None else decision.desired is not Residency.GPU


@given(policies(), moments())
def test_it_never_raises_and_an_order_always_says_what_for_and_why(
    policy: Policy, moment: tuple[Observation, float]
) -> None:
    seen, now = moment
    decision = plan(policy, seen, now)
    assert decision.reason
    if decision.action in _ORDERED:
        assert decision.desired is not None
        assert decision.desired is not seen.residency


@given(
    policies(),
    moments(),
    st.sampled_from(["residency", "in_flight", "idle_since"]),
    st.sampled_from([None, math.nan, math.inf, -math.inf]),
)
@example(Policy(offload_after_seconds=0), (Observation(Residency.GPU, 0, 1.7e9), 1.8e9), "idle_since", math.nan)
@example(Policy(residency=Residency.CPU), (Observation(Residency.GPU, 0, 1.7e9), 1.8e9), "idle_since", -math.inf)
@example(Policy(residency=Residency.UNLOADED), (Observation(Residency.GPU, 0, 1.7e9), 1.8e9), "residency", None)
def test_it_never_demotes_on_an_unknown_signal(
    policy: Policy, moment: tuple[Observation, float], field: str, unknown: float | None
) -> None:
    seen, now = moment
    seen = replace(seen, in_flight=0)
    match field:
        case "residency":
            seen = replace(seen, residency=None)
        case "in_flight":
            seen = replace(seen, in_flight=None)
        case _:
            seen = replace(seen, idle_since=unknown)
    assert not demotes(plan(policy, seen, now), seen.residency)


@given(policies(), moments(), st.integers(1, 100))
@example(Policy(residency=Residency.UNLOADED), (Observation(Residency.GPU, 1, 1.7e9), 1.8e9), 1)
@example(Policy(offload_after_seconds=0), (Observation(Residency.GPU, 1, 1.7e9), 1.8e9), 1)
def test_it_never_demotes_with_requests_in_flight(
    policy: Policy, moment: tuple[Observation, float], in_flight: int
) -> None:
    seen, now = moment
    seen = replace(seen, in_flight=in_flight)
    assert not demotes(plan(policy, seen, now), seen.residency)


@given(policies(), moments())
def test_it_never_wakes_without_a_manual_order_or_an_open_window(
    policy: Policy, moment: tuple[Observation, float]
) -> None:
    seen, now = moment
    decision = plan(policy, seen, now)
    if decision.action not in _ORDERED or demotes(decision, seen.residency):
        return
    by_hand = policy.residency is not None and (policy.residency_until is None or now < policy.residency_until)
    open_windows = [window.residency for window in policy.schedule if window.open_until(now) is not None]
    assert by_hand or decision.desired in open_windows
    assert decision.trigger is (Trigger.MANUAL if by_hand else Trigger.SCHEDULE)
    assert decision.if_idle_for_seconds is None, "a wake has no precondition"


@given(policies(modes=(Mode.ACTIVE,)), idle_replicas())
@example(
    Policy(offload_after_seconds=10, min_resident_seconds=60),
    (Observation(Residency.GPU, 0, 1.8e9 - 20, resident_since=1.8e9 - 30), 1.8e9),
)
def test_the_ladder_never_demotes_sooner_than_min_resident_after_a_wake(
    policy: Policy, moment: tuple[Observation, float]
) -> None:
    seen, now = moment
    policy = replace(policy, residency=None)
    assume(policy.offload_after_seconds != 0)
    if seen.residency is Residency.GPU and demotes(plan(policy, seen, now), seen.residency):
        assert seen.resident_since is not None
        assert now >= seen.resident_since + policy.min_resident_seconds


@given(policies(), idle_replicas() | moments())
def test_a_demotion_always_carries_the_idleness_it_was_decided_on(
    policy: Policy, moment: tuple[Observation, float]
) -> None:
    seen, now = moment
    decision = plan(policy, seen, now)
    if not demotes(decision, seen.residency):
        return
    assert decision.if_idle_for_seconds is not None
    assert seen.idle_since is not None
    assert decision.if_idle_for_seconds <= max(0.0, now - seen.idle_since), "the replica would refuse it"
    if decision.trigger is not Trigger.MANUAL:
        assert decision.if_idle_for_seconds in (policy.offload_after_seconds, policy.unload_after_seconds)


@given(policies(), moments())
def test_observe_never_orders_and_decides_what_active_would(policy: Policy, moment: tuple[Observation, float]) -> None:
    seen, now = moment
    observed = plan(replace(policy, mode=Mode.OBSERVE), seen, now)
    acted = plan(replace(policy, mode=Mode.ACTIVE), seen, now)
    assert observed.action is not Action.ORDER
    assert acted.action is not Action.WOULD_ORDER
    assert (observed.action is Action.WOULD_ORDER) is (acted.action is Action.ORDER)
    assert replace(observed, action=Action.HOLD) == replace(acted, action=Action.HOLD)


@given(policies(), moments())
def test_paused_wants_nothing(policy: Policy, moment: tuple[Observation, float]) -> None:
    seen, now = moment
    decision = plan(replace(policy, mode=Mode.PAUSED), seen, now)
    assert (decision.action, decision.desired) == (Action.HOLD, None)


@given(policies(), moments())
def test_changed_weights_are_never_ordered_off_the_host(policy: Policy, moment: tuple[Observation, float]) -> None:
    seen, now = moment
    seen = replace(seen, unload_refused=True)
    decision = plan(policy, seen, now)
    assert not (decision.action in _ORDERED and decision.desired is Residency.UNLOADED)
