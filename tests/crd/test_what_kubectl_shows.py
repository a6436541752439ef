"""The tables and explanations that a user reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localcluster import ControlPlane
from localcluster.errors import ApiRefused
from tests.crd.test_good_manifests import EVERYTHING, SELECTOR

NOW = "2026-01-02T03:04:05Z"
STATUS: dict[str, Any] = {
    "conditions": [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "m",
            "lastTransitionTime": NOW,
            "observedGeneration": 1,
        }
        for kind, status, reason in (
            ("ReplicasReachable", "True", "AllReachable"),
            ("Ready", "False", "InTransition"),
            ("IdleSignalAvailable", "True", "Fresh"),
        )
    ],
    "observedGeneration": 1,
    "desiredResidency": "CPU",
    "residency": "Mixed",
    "replicas": {"total": 2, "gpu": 1, "cpu": 1, "unloaded": 0, "unknown": 0, "summary": "1/2"},
    "gpuMemoryReleased": "13.8Gi",
    "lastTransition": {
        "from": "GPU",
        "to": "CPU",
        "time": NOW,
        "trigger": "Idle",
        "message": "idle 612 s ≥ 600 s; in flight 0; released 13.8Gi",
    },
}


@pytest.fixture
def path(apply: Callable[..., str], namespace: str) -> str:
    apply(EVERYTHING)
    return f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels/tts"


def set_status(control_plane: ControlPlane, path: str, status: dict[str, Any]) -> dict[str, Any]:
    body = {"status": status}
    return control_plane.api.request("PATCH", f"{path}/status", body, content_type="application/merge-patch+json")


def rows(table: str) -> list[list[str]]:
    """Columns are at least three blanks apart, and `On GPU` has one within."""
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in table.splitlines()]


def test_get_shows_where_it_is_and_where_it_should_be(control_plane: ControlPlane, namespace: str, path: str) -> None:
    set_status(control_plane, path, STATUS)
    header, row = rows(control_plane.kubectl("get", "dmm", namespace=namespace))
    assert header == ["NAME", "RESIDENCY", "DESIRED", "READY", "MODE", "ON GPU", "AGE"]
    assert row[:-1] == ["tts", "Mixed", "CPU", "False", "Observe", "1/2"]


def test_get_wide_adds_what_was_released_and_why(control_plane: ControlPlane, namespace: str, path: str) -> None:
    set_status(control_plane, path, STATUS)
    header, row = rows(control_plane.kubectl("get", "dmm", "-o", "wide", namespace=namespace))
    assert header[-3:] == ["AGE", "RELEASED", "REASON"]
    assert row[-2:] == ["13.8Gi", "InTransition"]


@pytest.mark.parametrize("kind", ["dormouse", "managedmodels", "managedmodel", "dmm"])
def test_it_is_found_under_all_its_names(control_plane: ControlPlane, namespace: str, path: str, kind: str) -> None:
    assert "tts" in control_plane.kubectl("get", kind, "-o", "name", namespace=namespace)


def test_explain_says_unit_default_zero_and_absent(control_plane: ControlPlane) -> None:
    text = " ".join(control_plane.kubectl("explain", "dmm.spec.policy").split())
    assert "Seconds of idleness after which the weights leave the GPU for host RAM" in text
    assert "0: as soon as a task ends. Absent: never." in text
    assert "Default 60, at most 86400 (a day)." in text
    assert "Default 30, at most 3600 (an hour)." in text


def test_explain_reaches_every_level(control_plane: ControlPlane) -> None:
    assert "Default Active" in control_plane.kubectl("explain", "dmm.spec.mode")
    assert "IANA zone" in control_plane.kubectl("explain", "dmm.spec.policy.schedule.timeZone")
    assert "lets the idle model servers" in " ".join(control_plane.kubectl("explain", "dmm").split())
    assert "gpu/total" in control_plane.kubectl("explain", "dmm.status.replicas.summary")


def test_status_is_written_only_through_its_subresource(
    control_plane: ControlPlane, path: str, stored: Callable[[], dict[str, Any]]
) -> None:
    before = stored()["metadata"]["generation"]
    merge = "application/merge-patch+json"
    control_plane.api.request("PATCH", path, {"status": STATUS}, content_type=merge)
    assert "status" not in stored()
    control_plane.api.request(
        "PATCH", f"{path}/status", {"status": STATUS, "spec": {"mode": "Paused"}}, content_type=merge
    )
    assert stored()["status"] == STATUS
    assert stored()["spec"]["mode"] == "Observe"
    assert stored()["metadata"]["generation"] == before


@pytest.mark.parametrize(
    ("status", "field"),
    [
        pytest.param({"residency": "HBM"}, "status.residency", id="unknown residency"),
        pytest.param({"desiredResidency": "Unknown"}, "status.desiredResidency", id="unknown desire"),
        pytest.param({"gpuMemoryReleased": "13.8 GB"}, "status.gpuMemoryReleased", id="no quantity"),
        pytest.param({"replicas": {"gpu": -1}}, "status.replicas.gpu", id="fewer than none"),
        pytest.param({"replicas": {"summary": "many"}}, "status.replicas.summary", id="summary in words"),
        pytest.param({"lastTransition": {"trigger": "Whim"}}, "status.lastTransition.trigger", id="trigger"),
        pytest.param({"conditions": [{"type": "Ready"}]}, "status.conditions[0].reason", id="bare condition"),
        pytest.param({"conditions": [STATUS["conditions"][0]] * 2}, "status.conditions[1]", id="a condition twice"),
    ],
)
def test_a_status_that_makes_no_sense_is_refused(
    control_plane: ControlPlane, path: str, status: dict[str, Any], field: str
) -> None:
    with pytest.raises(ApiRefused, match="422") as refusal:
        set_status(control_plane, path, status)
    assert field in refusal.value.message


def test_deletion_is_immediate(control_plane: ControlPlane, namespace: str, apply: Callable[..., str]) -> None:
    apply(SELECTOR)
    control_plane.kubectl("delete", "managedmodel", "tts", "--timeout=5s", namespace=namespace)
    assert control_plane.kubectl("get", "dmm", "-o", "name", namespace=namespace) == ""
