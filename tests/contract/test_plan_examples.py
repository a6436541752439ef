"""Examples of `plan()`: who wins, and the sentences that a person reads."""

import pytest
from dormouse_contract import Action, Mode, Observation, Policy, Residency, Trigger, Window, plan

GPU, CPU, UNLOADED = Residency.GPU, Residency.CPU, Residency.UNLOADED
# A Monday, 09:00 in UTC.
NOW = 1_704_099_600.0
LADDER = Policy(offload_after_seconds=600, unload_after_seconds=7200)
OPEN = Window("0 8 * * *", "UTC", 36_000, GPU)
HOLDS_CPU = Window("0 8 * * *", "UTC", 36_000, CPU)


def idle_for(seconds: float, at: Residency = GPU, **known: object) -> Observation:
    return Observation(at, 0, NOW - seconds, signal_age_seconds=4, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "seen", "reason"),
    [
        pytest.param(LADDER, idle_for(612), "idle 612 s ≥ 600 s; signal 4 s old; in flight 0", id="offload"),
        pytest.param(LADDER, idle_for(7300), "idle 7300 s ≥ 7200 s; signal 4 s old; in flight 0", id="unload"),
        pytest.param(LADDER, idle_for(30), "idle 30 s < 600 s to CPU; signal 4 s old; in flight 0", id="not yet"),
        pytest.param(LADDER, idle_for(9000, UNLOADED), "idle 9000 s; no further step", id="at the bottom"),
        pytest.param(LADDER, Observation(GPU, 2, None), "in use: in flight 2", id="in use"),
        pytest.param(
            LADDER,
            Observation(GPU, 0, None, unknown_because="no sample for 90 s"),
            "idle signal; waits: no sample for 90 s",
            id="unknown",
        ),
        pytest.param(
            LADDER,
            idle_for(7300, CPU, unload_refused=True),
            "idle 7300 s; changed weights can't be unloaded, so they stay in host RAM",
            id="dirty",
        ),
        pytest.param(
            Policy(offload_after_seconds=10),
            idle_for(20, resident_since=NOW - 25),
            "idle 20 s ≥ 10 s, but woken recently: stays 35 s more",
            id="thrash guard",
        ),
        pytest.param(
            Policy(residency=CPU), Observation(GPU, 3, None), "CPU set by hand; waits: in flight 3", id="by hand, busy"
        ),
        pytest.param(Policy(residency=GPU), idle_for(5, CPU), "GPU set by hand", id="by hand"),
        pytest.param(Policy(schedule=(OPEN,)), idle_for(5, CPU), "a schedule window holds at least GPU", id="window"),
    ],
)
def test_the_reason_says_what_a_person_needs(policy: Policy, seen: Observation, reason: str) -> None:
    assert plan(policy, seen, NOW).reason == reason


@pytest.mark.parametrize(
    ("policy", "at", "desired", "trigger"),
    [
        pytest.param(LADDER, GPU, CPU, Trigger.IDLE, id="the ladder alone"),
        pytest.param(
            Policy(offload_after_seconds=600, schedule=(OPEN,)), GPU, GPU, Trigger.SCHEDULE, id="a window holds up"
        ),
        pytest.param(
            Policy(offload_after_seconds=600, schedule=(OPEN,), residency=UNLOADED),
            GPU,
            UNLOADED,
            Trigger.MANUAL,
            id="by hand beats a window",
        ),
        pytest.param(
            Policy(residency=GPU, offload_after_seconds=0), GPU, GPU, Trigger.MANUAL, id="by hand beats the ladder"
        ),
        pytest.param(
            Policy(residency=UNLOADED, residency_until=NOW, offload_after_seconds=600),
            GPU,
            CPU,
            Trigger.IDLE,
            id="by hand until now is over",
        ),
        pytest.param(
            Policy(offload_after_seconds=1, unload_after_seconds=2, schedule=(HOLDS_CPU,)),
            GPU,
            CPU,
            Trigger.IDLE,
            id="a CPU window stops the fall",
        ),
        pytest.param(Policy(schedule=(HOLDS_CPU,)), UNLOADED, CPU, Trigger.SCHEDULE, id="a CPU window loads"),
        pytest.param(Policy(schedule=(HOLDS_CPU, OPEN)), CPU, GPU, Trigger.SCHEDULE, id="the highest window wins"),
    ],
)
def test_precedence(policy: Policy, at: Residency, desired: Residency, trigger: Trigger) -> None:
    decision = plan(policy, idle_for(1000, at), NOW)
    assert (decision.desired, decision.trigger) == (desired, trigger)
    assert decision.action is (Action.HOLD if at is desired else Action.ORDER)


def test_until_its_end_a_manual_residency_holds_and_says_when_to_look_again() -> None:
    policy = Policy(residency=GPU, residency_until=NOW + 100, offload_after_seconds=600)
    decision = plan(policy, idle_for(1000), NOW)
    assert (decision.action, decision.revisit_at) == (Action.HOLD, NOW + 100)
    assert plan(policy, idle_for(1000), NOW + 100).desired is CPU


def test_a_replica_woken_before_the_override_is_demoted_at_once() -> None:
    policy = Policy(residency=CPU, residency_since=NOW - 5)
    seen = idle_for(1, resident_since=NOW - 10)
    assert plan(policy, seen, NOW).action is Action.ORDER


def test_a_replica_woken_by_demand_after_the_override_stays_for_min_resident() -> None:
    policy = Policy(residency=CPU, residency_since=NOW - 50, min_resident_seconds=60)
    seen = idle_for(1, resident_since=NOW - 10)
    decision = plan(policy, seen, NOW)
    assert (decision.action, decision.desired, decision.revisit_at) == (Action.HOLD, CPU, NOW + 50)
    assert plan(policy, seen, NOW + 50).action is Action.ORDER


def test_the_minimum_residence_is_kept_to_the_last_moment_and_not_longer() -> None:
    policy = Policy(offload_after_seconds=10, min_resident_seconds=60)
    seen = idle_for(20, resident_since=NOW - 30)
    assert plan(policy, seen, NOW).revisit_at == NOW + 30
    assert plan(policy, seen, NOW + 29.99).action is Action.HOLD
    assert plan(policy, seen, NOW + 30).action is Action.ORDER


def test_a_manual_unload_of_changed_weights_becomes_host_ram() -> None:
    assert plan(Policy(residency=UNLOADED), idle_for(1000, unload_refused=True), NOW).desired is CPU


def test_a_wake_by_hand_is_ordered_even_when_nothing_is_known() -> None:
    decision = plan(Policy(residency=GPU), Observation(None, None, None), NOW)
    assert (decision.action, decision.desired) == (Action.ORDER, GPU)


def test_offload_of_zero_demotes_as_soon_as_a_task_ends_whatever_min_resident_is() -> None:
    policy = Policy(offload_after_seconds=0, min_resident_seconds=60)
    assert plan(policy, idle_for(0, resident_since=NOW - 1), NOW).desired is CPU


def test_observe_counts_what_it_would_have_ordered() -> None:
    policy = Policy(mode=Mode.OBSERVE, offload_after_seconds=600)
    assert plan(policy, idle_for(612), NOW).action is Action.WOULD_ORDER


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("offload_after_seconds", -1),
        ("unload_after_seconds", float("nan")),
        ("min_resident_seconds", -0.5),
        ("wake_budget_seconds", float("nan")),
    ],
)
def test_a_duration_that_is_none_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Policy(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("unload", [600, 599])
def test_an_unload_that_is_not_later_than_the_offload_is_refused(unload: float) -> None:
    with pytest.raises(ValueError, match="must come later"):
        Policy(offload_after_seconds=600, unload_after_seconds=unload)
