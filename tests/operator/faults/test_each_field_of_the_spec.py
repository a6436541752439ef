"""Each field of the spec, moved from A to B, ends where a fresh ManagedModel with B ends.

The fields are read from the CRD, so that a new one without a case here fails.
"""

from __future__ import annotations

import re
import time
from typing import Any

import yaml

from localcluster.crd import CRD_FILE
from tests.waiting import eventually

from ..fake_pod import FakeModel, FakePod
from ..world import World
from .conftest import Faulty

BASE: dict[str, Any] = {"policy": {"offloadAfterSeconds": 20, "unloadAfterSeconds": 7200, "minResidentSeconds": 0}}


def _policy(**changes: Any) -> dict[str, Any]:
    kept = {name: value for name, value in (BASE["policy"] | changes).items() if value is not None}
    return {"policy": kept}


_ALWAYS = {"cron": "* * * * *", "timeZone": "UTC", "durationSeconds": 3600, "residency": "GPU"}


def _window(**changes: Any) -> dict[str, Any]:
    return _policy(schedule=[_ALWAYS | changes])


# From A to B; every B leads to another end than its A, or it would show nothing.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mode": (BASE, BASE | {"mode": "Observe"}),
    "residency": (BASE | {"residency": "GPU"}, BASE | {"residency": "Unloaded"}),
    "residencyUntil": (
        BASE | {"residency": "Unloaded", "residencyUntil": "2999-01-01T00:00:00Z"},
        BASE | {"residency": "Unloaded", "residencyUntil": "2001-01-01T00:00:00Z"},
    ),
    "policy.offloadAfterSeconds": (_policy(offloadAfterSeconds=3600), _policy(offloadAfterSeconds=20)),
    "policy.unloadAfterSeconds": (_policy(unloadAfterSeconds=3600), _policy(unloadAfterSeconds=50)),
    "policy.minResidentSeconds": (_policy(minResidentSeconds=0), _policy(minResidentSeconds=3600)),
    "policy.wakeBudgetSeconds": (_policy(wakeBudgetSeconds=30), _policy(wakeBudgetSeconds=90)),
    "policy.schedule": (_window(), _policy(schedule=None)),
    "policy.schedule.cron": (_window(cron="0 0 29 12 *"), _window()),
    "policy.schedule.timeZone": (_window(timeZone="Asia/Shanghai"), _window(timeZone="Europe/Berlin")),
    "policy.schedule.durationSeconds": (_window(durationSeconds=3600), _window(durationSeconds=7200)),
    "policy.schedule.residency": (_window(residency="GPU"), _window(residency="CPU", cron="* * * * *")),
}
# What can't be moved: the API server refuses it, as tests/crd shows.
IMMUTABLE = {"selector", "selector.matchLabels", "model"}


def fields(schema: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{prefix}{name}"} | fields(inner.get("items", inner), f"{prefix}{name}.")
    return found


def test_every_field_of_the_crd_has_a_case() -> None:
    schema = yaml.safe_load(CRD_FILE.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert fields(schema["properties"]["spec"]) == {*CASES, *IMMUTABLE, "policy"}


def test_moved_from_a_to_b_is_a_fresh_b(faulty: Faulty) -> None:
    world = faulty.world
    names = {field: re.sub(r"[^a-z]", "-", field.lower()) for field in CASES}
    for field, (a, _) in CASES.items():
        world.add_pod(f"{names[field]}-moved", {"tts": _idle()}, app=f"{names[field]}-moved")
        _put(world, f"{names[field]}-moved", a)
    for field in CASES:
        world.add_pod(f"{names[field]}-fresh", {"tts": _idle()}, app=f"{names[field]}-fresh")
    world.operator.start()
    world.trust()
    for field in CASES:
        eventually(f"{field} has its A", lambda n=names[field]: _settled(world, f"{n}-moved", 1))
    ordered: dict[str, int] = {}
    for field, (_, b) in CASES.items():
        for kind in ("moved", "fresh"):
            pod = world.pods[f"{names[field]}-{kind}"]
            ordered[pod.uid] = len(pod.orders)
            pod.models["tts"] = _idle()
            _put(world, f"{names[field]}-{kind}", b)

    def differ() -> dict[str, Any]:
        return {
            field: ends
            for field, name in names.items()
            if (ends := [_end(world, f"{name}-{kind}", ordered) for kind in ("moved", "fresh")])[0] != ends[1]
            or not _settled(world, f"{name}-fresh", 1)
            or not _settled(world, f"{name}-moved", 2)
        }

    left: dict[str, Any] = {}

    def same() -> bool:
        left.clear()
        left.update(differ())
        return not left

    try:
        eventually("all of them end as a fresh B", same, deadline_seconds=60)
    except AssertionError as error:
        raise AssertionError(f"these end elsewhere, moved and fresh: {left}") from error


def _idle() -> FakeModel:
    return FakeModel(idle_since=time.time() - 100)


def _put(world: World, name: str, spec: dict[str, Any]) -> None:
    path = f"/apis/dormouse.dev/v1alpha1/namespaces/{world.namespace}/managedmodels"
    whole = {"selector": {"matchLabels": {"app": name}}, "model": "tts", **spec}
    body = {"apiVersion": "dormouse.dev/v1alpha1", "kind": "ManagedModel", "metadata": {"name": name}, "spec": whole}
    known = world.get(f"{path}/{name}")
    if known is None:
        world.control_plane.api.request("POST", path, body)
    else:
        body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
        world.control_plane.api.request("PUT", f"{path}/{name}", body)


def _settled(world: World, name: str, generation: int) -> bool:
    body = world.managed_model(name)
    ready = next((c for c in body.get("status", {}).get("conditions", []) if c["type"] == "Ready"), {})
    told = body.get("status", {}).get("residency") == world.pods[name].models["tts"].residency
    at = body["metadata"]["generation"], ready.get("observedGeneration")
    return told and at == (generation, generation) and ready.get("reason") in ("AsDesired", "Observing")


def _end(world: World, name: str, ordered: dict[str, int]) -> dict[str, Any]:
    """What can be seen at the end: the status, the policy that is lent, and the last order of those since B."""
    pod, status = world.pods[name], world.status(name)
    conditions = sorted((c["type"], c["status"], c["reason"]) for c in status.get("conditions", []))
    shown = {key: status.get(key) for key in ("desiredResidency", "residency", "replicas", "gpuMemoryReleased")}
    # On the GPU already, a wake is ordered or not as the last scrape has it, and changes nothing.
    order = None if shown["residency"] == "GPU" else _last_order(pod, ordered[pod.uid])
    return shown | {"conditions": conditions, "loan": _loan(pod), "order": order}


def _loan(pod: FakePod) -> Any:
    """In force now: the last, unless it was taken back."""
    said = [call.body for call in list(pod.loans)]
    if not said or said[-1]["validForSeconds"] == 0:
        return None
    return {key: value for key, value in said[-1].items() if key not in ("order", "podUID")}


def _last_order(pod: FakePod, since: int) -> Any:
    said = [call.body for call in list(pod.orders)[since:]]
    return [said[-1][key] for key in ("desired", "trigger", "ifIdleForSeconds")] if said else None
