"""From what is known to what the user reads."""

from __future__ import annotations

from typing import Any

import pytest
from dormouse_contract.idleness import IdleSignal
from dormouse_contract.managed_model import Status
from dormouse_contract.quantity import as_quantity
from dormouse_contract.wire import LastTransitionSnapshot, TransitionReport
from dormouse_operator.orders import Outcome
from dormouse_operator.reporting.summary import summarize
from dormouse_operator.view import Contact, ReplicaMemory, View
from pydantic import ValidationError

from .objects import NOW, fleet, managed_model, pod, signal, view_of

OFFLOAD = {"offloadAfterSeconds": 50, "minResidentSeconds": 0}


def ready(view: View) -> tuple[str, str]:
    found = summarize(view, NOW).condition("Ready")
    assert found is not None
    return found.status, found.reason


def make(spec: dict[str, Any], seen: IdleSignal | None = None, **known: Any) -> View:
    return view_of(fleet(managed_model(**spec), pod()), signal() if seen is None else seen, **known)


BAD_WINDOW = {"cron": "0 0 31 2 *", "timeZone": "UTC", "durationSeconds": 60, "residency": "GPU"}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(make({}), ("True", "AsDesired"), id="no policy"),
        pytest.param(make({"policy": OFFLOAD}), ("False", "Transitioning"), id="idle"),
        pytest.param(make({"policy": OFFLOAD}, signal(residency="CPU")), ("True", "AsDesired"), id="asleep"),
        pytest.param(
            make({"residency": "CPU"}, signal(in_flight=1, idle_since=0)), ("True", "AboveByDemand"), id="in use"
        ),
        pytest.param(make({"mode": "Paused", "policy": OFFLOAD}), ("True", "Paused"), id="paused"),
        pytest.param(make({"mode": "Observe", "policy": OFFLOAD}), ("False", "Observing"), id="observe"),
        pytest.param(make({"mode": "Observe"}), ("True", "Observing"), id="observe, nothing to do"),
        pytest.param(make({}, IdleSignal()), ("Unknown", "IdleSignalMissing"), id="no signal"),
        pytest.param(make({}, signal(age=99)), ("Unknown", "IdleSignalStale"), id="stale"),
        pytest.param(make({}, IdleSignal(failure="x")), ("Unknown", "PrometheusUnavailable"), id="down"),
        pytest.param(make({}, contact=Contact(Outcome.UNREACHABLE)), ("False", "Unreachable"), id="unreachable"),
        pytest.param(make({}, contact=Contact(Outcome.UNTRUSTED)), ("False", "Untrusted"), id="untrusted"),
        pytest.param(make({"model": "asr"}), ("False", "UnknownModel"), id="unknown model"),
        pytest.param(make({"policy": {"schedule": [BAD_WINDOW]}}), ("False", "InvalidSchedule"), id="bad schedule"),
        pytest.param(
            make(
                {"residency": "GPU"},
                signal(residency="CPU"),
                memory=ReplicaMemory(Outcome.CANNOT_NOW, "needs 3 GiB, free 1 GiB"),
            ),
            ("False", "CannotNow"),
            id="no room",
        ),
        pytest.param(
            make({"residency": "CPU"}, memory=ReplicaMemory(Outcome.BAD_BODY, "unknown field")),
            ("False", "VersionSkew"),
            id="an order of another version",
        ),
        pytest.param(
            make({}, memory=ReplicaMemory(loan_misunderstood="unknown field")),
            ("False", "VersionSkew"),
            id="a loan of another version",
        ),
        pytest.param(
            make({}, memory=ReplicaMemory(Outcome.BAD_BODY, "unknown field")),
            ("True", "AsDesired"),
            id="an order of another version that nobody wants any more",
        ),
        pytest.param(
            make(
                {"residency": "Unloaded"},
                signal(residency="CPU"),
                memory=ReplicaMemory(Outcome.DIRTY, "changed", dirty_idle_since=NOW - 100),
            ),
            ("True", "ChangedWeights"),
            id="changed weights",
        ),
    ],
)
def test_ready_says_what_is(view: View, expected: tuple[str, str]) -> None:
    assert ready(view) == expected


def moved(**changes: Any) -> LastTransitionSnapshot:
    values = {
        "from": "GPU",
        "to": "CPU",
        "trigger": "Idle",
        "reason": "idle 612 s ≥ 600 s; in flight 0",
        "time": NOW - 5.25,
        "seconds": 0.1,
        "releasedBytes": int(13.85 * 1024**3),
        "outcome": "ok",
    }
    return LastTransitionSnapshot.model_validate(values | changes)


def used(ago: float, woken_ago: float, trigger: str = "Demand", **spec: Any) -> View:
    """On the GPU since a wake, used a little later."""
    told = ReplicaMemory(
        last_transition=moved(**{"from": "CPU", "to": "GPU", "trigger": trigger}, time=NOW - woken_ago)
    )
    return make(spec, signal(idle_since=NOW - ago, last_transition=NOW - woken_ago), memory=told)


BY_HAND = {"residency": "CPU", "policy": {"minResidentSeconds": 0}}
AT_ONCE = {"policy": {"offloadAfterSeconds": 0}}


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param(used(2, 5, **BY_HAND), "AboveByDemand", id="manual CPU and demand"),
        pytest.param(used(2, 5, **AT_ONCE), "AboveByDemand", id="keep-alive 0 and demand"),
        pytest.param(used(2, 5, "Manual", **BY_HAND), "Transitioning", id="woken by hand before"),
        pytest.param(used(300, 305, **BY_HAND), "Transitioning", id="long unused, and still not moved"),
        pytest.param(used(60, 65, policy=OFFLOAD), "Transitioning", id="the ladder"),
    ],
)
def test_going_down_again_after_a_request_is_no_transition_to_wait_for(view: View, reason: str) -> None:
    assert ready(view)[1] == reason


def test_after_an_edit_by_hand_ready_waits_for_the_move_even_of_what_demand_woke() -> None:
    body = managed_model(**BY_HAND)
    fields = {"f:spec": {"f:residency": {}}}
    body["metadata"]["managedFields"] = [{"time": "2027-01-15T07:59:59Z", "fieldsV1": fields}]
    seen = signal(idle_since=NOW - 2, last_transition=NOW - 5)
    assert ready(view_of(fleet(body, pod()), seen)) == ("False", "Transitioning")


def test_nothing_selected_and_no_sidecar() -> None:
    assert ready(view_of(fleet(managed_model()), IdleSignal())) == ("False", "NoReplicas")
    bare = fleet(managed_model(), pod(sidecar=False))
    assert ready(view_of(bare, signal())) == ("False", "NoSidecar")


def test_the_first_visit_sets_all_three_conditions() -> None:
    status = summarize(make({}, IdleSignal(), contact=Contact()), NOW)
    assert [each.type for each in status.conditions] == ["Ready", "IdleSignalAvailable", "ReplicasReachable"]
    assert all(each.observed_generation == 1 for each in status.conditions)
    assert all(each.last_transition_time == "2027-01-15T08:00:00Z" for each in status.conditions)


def test_an_unchanged_world_gives_the_same_status_at_any_time() -> None:
    body = managed_model(policy={"offloadAfterSeconds": 500})
    first = summarize(view_of(fleet(body, pod()), signal()), NOW)
    body["status"] = first.to_patch()
    assert Status.from_dict(body["status"]) == first
    again = summarize(view_of(fleet(body, pod()), signal(age=7)), NOW + 3600)
    assert again == first


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    body = managed_model(policy=OFFLOAD)
    body["status"] = summarize(view_of(fleet(body, pod()), signal(residency="CPU")), NOW).to_patch()
    later = summarize(view_of(fleet(body, pod()), signal(residency="GPU")), NOW + 60)
    changed, same = later.condition("Ready"), later.condition("IdleSignalAvailable")
    assert changed is not None
    assert same is not None
    assert (changed.status, changed.last_transition_time) == ("False", "2027-01-15T08:01:00Z")
    assert same.last_transition_time == "2027-01-15T08:00:00Z"


def test_figures_of_the_replicas() -> None:
    status = summarize(make({"policy": OFFLOAD}, signal(residency="CPU", released_bytes=13.85 * 1024**3)), NOW)
    patch = status.to_patch()
    assert patch["replicas"] == {"total": 1, "gpu": 0, "cpu": 1, "unloaded": 0, "unknown": 0, "summary": "0/1"}
    assert patch["gpuMemoryReleased"] == "13.8Gi"
    assert (patch["desiredResidency"], patch["residency"]) == ("CPU", "CPU")


def test_what_was_measured_stays_while_the_signal_is_away() -> None:
    body = managed_model()
    body["status"] = {"gpuMemoryReleased": "13.8Gi"}
    status = summarize(view_of(fleet(body, pod()), IdleSignal(failure="down")), NOW)
    assert (status.gpu_memory_released, status.residency) == ("13.8Gi", "Unknown")


def test_the_last_transition_is_copied_with_its_figures_and_never_goes_back() -> None:
    told = ReplicaMemory(last_transition=moved())
    status = summarize(make({}, memory=told), NOW)
    assert status.last_transition is not None
    assert status.last_transition.message == "idle 612 s ≥ 600 s; in flight 0; released 13.8Gi"
    assert status.last_transition.time == "2027-01-15T07:59:54.750000Z"
    body = managed_model()
    body["status"] = status.to_patch()
    older = ReplicaMemory(last_transition=moved(time=NOW - 50, to="Unloaded"))
    assert summarize(view_of(fleet(body, pod()), signal(), memory=older), NOW).last_transition == status.last_transition
    failed = ReplicaMemory(last_transition=moved(time=NOW, outcome="failed"))
    assert (
        summarize(view_of(fleet(body, pod()), signal(), memory=failed), NOW).last_transition == status.last_transition
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1023, "1023"), (1024, "1Ki"), (512 * 1024**2, "512Mi"), (13.85 * 1024**3, "13.8Gi")],
)
def test_quantities_never_claim_more_than_was_measured(count: float, text: str) -> None:
    assert as_quantity(count) == text


def reported(**changes: Any) -> ReplicaMemory:
    whole = moved().model_dump(by_alias=True) | changes
    return ReplicaMemory(last_transition=TransitionReport.model_validate(whole))


def test_a_trigger_that_the_crd_does_not_have_is_left_out_of_the_status() -> None:
    last = summarize(make({}, memory=reported(trigger="Claim")), NOW).last_transition
    assert last is not None
    assert last.to_dict()["trigger"] is None
    assert (last.from_, last.to) == ("GPU", "CPU")


def test_a_tier_that_the_crd_does_not_have_is_no_last_transition() -> None:
    assert summarize(make({}, memory=reported(to="Disk")), NOW).last_transition is None


def test_the_last_moment_that_a_calendar_has_is_written_and_a_later_one_is_not_let_in() -> None:
    told = summarize(make({}, memory=reported(time=253_402_300_799.0)), NOW).last_transition
    assert told is not None
    assert told.time.startswith("9999-12-31T23:59:59")
    with pytest.raises(ValidationError):
        reported(time=1e300)


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"residency": "GPU", "residencyUntil": "2027-01-01T00:00:00,5Z"}, "InvalidSpec", "counts as Auto"),
        ({"mode": "Careful"}, "InvalidSpec", "nothing is ordered"),
        ({"policy": {"schedule": [BAD_WINDOW]}}, "InvalidSchedule", "The rest of the spec holds."),
    ],
)
def test_what_is_not_understood_is_said_in_ready(spec: dict[str, Any], reason: str, words: str) -> None:
    view = make(spec)
    condition = summarize(view, NOW).condition("Ready")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", reason)
    assert words in condition.message
    assert not any(replica.moves for replica in view.replicas)


def test_each_part_that_is_not_understood_is_said_as_far_as_there_is_room() -> None:
    spec = {
        "residency": "GPU",
        "residencyUntil": "tomorrow",
        "mode": "Careful",
        "policy": {"schedule": [BAD_WINDOW, BAD_WINDOW]},
    }
    condition = summarize(make(spec), NOW).condition("Ready")
    assert condition is not None
    for part in ("residencyUntil", "mode is 'Careful'", "policy.schedule[0]", "And 1 more", "The rest of the spec"):
        assert part in condition.message
    assert condition.message.count("The rest") == 1


def test_a_selector_of_a_newer_version_selects_nobody_and_can_be_deleted() -> None:
    body = managed_model(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})
    made = fleet(body, pod())
    assert ready(view_of(made, signal())) == ("False", "InvalidSpec")
    made.observe_managed_model(body, deleted=True)
    assert not made.managed_models
