"""Each value that the API server lets in is understood, or it is a problem that is said; and nothing pins for ever."""

from __future__ import annotations

from typing import Any

import pytest
from dormouse_contract import Mode, Observation, Residency, plan
from dormouse_contract.managed_model import ManagedModel, SpecProblemReason, Status, managed_model, read_spec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .crd_values import anything, odd, specs, statuses

NOW = 1_800_000_000.0
SELECTOR = {"matchLabels": {"app": "tts"}}


def read(**spec: Any) -> ManagedModel:
    return managed_model({"metadata": {"namespace": "speech", "name": "tts"}, "spec": {"selector": SELECTOR, **spec}})


def reasons(read: ManagedModel) -> list[str]:
    return [problem.reason for problem in read.problems]


def decided(model: ManagedModel) -> None:
    """Whatever was read can be decided with."""
    for residency in (None, *Residency):
        plan(model.policy, Observation(residency, 0, NOW - 1e6), NOW)


SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@SLOW
@given(specs, statuses)
def test_what_the_schema_admits_is_understood_or_a_problem(spec: dict[str, Any], status: dict[str, Any]) -> None:
    body = {"metadata": {"namespace": "speech", "name": "tts"}, "spec": spec, "status": status}
    model = managed_model(body)
    decided(model)
    policy = spec.get("policy", {})
    if not model.problems:
        assert dict(model.selector) == spec["selector"]["matchLabels"]
        assert model.policy.mode == spec.get("mode", "Active")
        assert (model.policy.residency or "Auto") == spec.get("residency", "Auto")
        assert model.policy.offload_after_seconds == policy.get("offloadAfterSeconds")
        assert model.policy.unload_after_seconds == policy.get("unloadAfterSeconds")
        assert len(model.policy.schedule) == len(policy.get("schedule", ()))
    if "residencyUntil" in spec and model.policy.residency is not None:
        assert model.policy.residency_until is not None, "a pin that ends is never one without an end"


@SLOW
@given(odd(specs), st.one_of(odd(statuses), anything))
@example({}, None)
@example({"selector": {"matchLabels": {}}}, {})
def test_what_another_version_wrote_is_understood_or_a_problem(spec: Any, status: Any) -> None:
    model = managed_model({"metadata": {"namespace": "speech", "name": "tts"}, "spec": spec, "status": status})
    decided(model)
    assert model.selector or model.problems
    # What is read is what the next version of it is compared with and made of.
    assert Status.from_dict(model.status.to_patch()) == model.status


@pytest.mark.parametrize(
    "until",
    ["2027-01-01t00:00:00z", "2027-01-01T00:00:00.000Z", "2027-01-01T08:00:00+08:00", "2027-01-01T00:00:00-00:00"],
)
def test_a_pin_ends_however_its_end_is_written(until: str) -> None:
    pinned = read(residency="GPU", residencyUntil=until)
    assert pinned.problems == ()
    assert (pinned.policy.residency, pinned.policy.residency_until) == (Residency.GPU, 1_798_761_600.0)


@pytest.mark.parametrize(
    "until", ["0000-01-01T00:00:00Z", "2027-01-01T00:00:00,5Z", "2027-01-01T00:00:00+99:00", 7, ""]
)
@pytest.mark.parametrize("residency", list(Residency))
def test_a_pin_whose_end_can_not_be_read_is_none_and_says_so(residency: Residency, until: object) -> None:
    pinned = read(residency=residency, residencyUntil=until)
    assert pinned.policy.residency is None
    assert reasons(pinned) == ["InvalidSpec"]
    assert "residencyUntil" in pinned.problems[0].message
    assert "counts as Auto" in pinned.problems[0].message


def test_an_end_of_nothing_is_no_problem() -> None:
    assert read(residencyUntil="whenever").problems == ()


def test_a_mode_of_a_newer_version_orders_nothing() -> None:
    newer = read(mode="Careful", policy={"offloadAfterSeconds": 60})
    assert newer.policy.mode is Mode.PAUSED
    assert "mode is 'Careful'" in newer.problems[0].message


def test_a_residency_of_a_newer_version_counts_as_auto() -> None:
    newer = read(residency="Disk")
    assert newer.policy.residency is None
    assert reasons(newer) == [SpecProblemReason.INVALID_SPEC]


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, id="expressions"),
        pytest.param(
            {**SELECTOR, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, id="labels and expressions"
        ),
        pytest.param({}, id="empty"),
        pytest.param(None, id="none"),
        pytest.param({"matchLabels": {"app": 7}}, id="a number"),
    ],
)
def test_a_selector_that_is_not_understood_selects_nothing(selector: object) -> None:
    newer = read(selector=selector)
    assert newer.selector == ()
    assert "no pod is selected" in newer.problems[0].message


def test_a_model_that_none_can_be_named_selects_nothing_and_never_everything() -> None:
    newer = read(model=["tts", "asr"])
    assert newer.selector == ()
    assert "no pod is selected" in newer.problems[0].message


@pytest.mark.parametrize("value", [-1, "600", True, 10**400, float("nan"), []])
def test_a_duration_that_is_none_counts_as_its_default(value: object) -> None:
    model = read(policy={"offloadAfterSeconds": value, "minResidentSeconds": value})
    assert (model.policy.offload_after_seconds, model.policy.min_resident_seconds) == (None, 60)
    assert reasons(model) == ["InvalidSpec", "InvalidSpec"]


def test_a_policy_that_contradicts_itself_never_unloads() -> None:
    model = read(policy={"offloadAfterSeconds": 600, "unloadAfterSeconds": 600})
    assert (model.policy.offload_after_seconds, model.policy.unload_after_seconds) == (600, None)
    assert reasons(model) == ["InvalidSpec"]


@pytest.mark.parametrize(
    "window",
    [
        *({}, "0 8 * * *", {"cron": "0 8 * * *", "timeZone": "UTC"}),
        {"cron": "0 8 * * *", "timeZone": "UTC", "durationSeconds": 60, "residency": "Disk"},
        {"cron": "0 8 * * *", "timeZone": "UTC", "durationSeconds": True, "residency": "GPU"},
        {"cron": "0 8 * * *", "timeZone": "Local", "durationSeconds": 60, "residency": "GPU"},
    ],
)
def test_a_window_that_is_not_understood_is_left_out_and_named_by_its_position(window: object) -> None:
    good = {"cron": "0 8 * * *", "timeZone": "UTC", "durationSeconds": 60, "residency": "GPU"}
    model = read(policy={"schedule": [good, window]})
    assert len(model.policy.schedule) == 1
    assert reasons(model) == ["InvalidSchedule"]
    assert model.problems[0].message.startswith("policy.schedule[1]: ")


def test_a_problem_is_short_however_long_the_value_is() -> None:
    assert len(read(mode="x" * 100_000).problems[0].message) < 300


def test_the_policy_of_an_unreadable_spec_is_that_of_an_empty_one() -> None:
    assert read_spec(None).policy == read_spec({"selector": SELECTOR}).policy
