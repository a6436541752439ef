"""The API server takes the worst that is made of a pod's words: a status and an Event, each at its full length."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dormouse_contract.managed_model import managed_model as typed
from dormouse_contract.wire import ModelReport
from dormouse_operator.cluster.kube import Kube, load_configuration
from dormouse_operator.cluster.pods import pod as typed_pod
from dormouse_operator.orders import Outcome
from dormouse_operator.reporting.events import transition_event
from dormouse_operator.reporting.summary import summarize
from dormouse_operator.view import Contact, ReplicaMemory
from kubernetes.aio.client import ApiClient

from localcluster.controlplane import ControlPlane

from .objects import NOW, fleet, managed_model, pod, signal, view_of

WORDS = {
    "long": "日本語🟢" * 2000,
    "forged": "x\n2026 INFO all is well\x1b[2K\u202e\u2028" * 50,
    "nothing": "\0" * 3000,
}


def told(words: str) -> ModelReport:
    moved: dict[str, Any] = {
        "from": "GPU",
        "to": "CPU",
        "trigger": words[:32],
        "reason": words,
        "time": 253_402_300_799,
        "seconds": 315_360_000,
        "releasedBytes": 2**53,
        "outcome": "ok",
    }
    return ModelReport.from_json(json.dumps({"name": "tts", "lastTransition": moved}))


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
async def test_whatever_a_pod_says_its_status_and_its_event_are_taken(
    control_plane: ControlPlane, namespace: str, kubeconfig: Path, words: str
) -> None:
    manifest = managed_model() | {"apiVersion": "dormouse.dev/v1alpha1", "kind": "ManagedModel"}
    manifest["metadata"] = {"name": "tts", "namespace": namespace}
    path = f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels"
    control_plane.api.request("POST", path, manifest)
    moved = told(words).last_transition
    assert moved is not None
    asked = managed_model(policy={"offloadAfterSeconds": 1, "minResidentSeconds": 0})
    memory = ReplicaMemory(Outcome.CANNOT_NOW, words, None, moved, words)
    view = view_of(
        fleet(asked, pod()), signal(), contact=Contact(Outcome.DONE, words, frozenset({"tts"})), memory=memory
    )
    status = summarize(view, NOW)
    event = transition_event(replace(typed(asked), namespace=namespace), typed_pod(pod()), "tts", moved, NOW, "me")
    kube = Kube(ApiClient(await load_configuration(kubeconfig)))
    try:
        patch = {"status": status.to_patch()}
        kept = await kube.request("PATCH", f"{path}/tts/status", patch, content_type="application/merge-patch+json")
        posted = await kube.request("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", event)
    finally:
        await kube.close()
    assert kept["status"]["lastTransition"]["time"].startswith("9999-12-31")
    assert len(posted["note"].encode()) <= 1024
    said = [posted["note"], kept["status"]["lastTransition"]["message"]]
    said += [each["message"] for each in kept["status"]["conditions"]]
    assert all(len(each.splitlines()) == 1 and "\x1b" not in each for each in said)
