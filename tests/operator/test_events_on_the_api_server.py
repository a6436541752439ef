"""The API server takes an Event and its series from the operator's account, and kubectl shows the count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dormouse_contract.managed_model import managed_model as typed
from dormouse_contract.wire import LastTransitionSnapshot
from dormouse_operator.cluster.kube import Kube, load_configuration
from dormouse_operator.cluster.pods import pod as typed_pod
from dormouse_operator.reporting.events import post, tell_more, transition_event
from kubernetes.aio.client import ApiClient

from localcluster.controlplane import ControlPlane

from .objects import NOW, managed_model, pod

MOVED = {
    "from": "GPU",
    "to": "CPU",
    "trigger": "AfterTask",
    "reason": "",
    "time": NOW,
    "seconds": 0.1,
    "releasedBytes": 0,
    "outcome": "ok",
}


async def test_a_series_is_counted_on_and_one_that_is_gone_is_noticed(
    control_plane: ControlPlane, namespace: str, kubeconfig: Path
) -> None:
    kube = Kube(ApiClient(await load_configuration(kubeconfig)))
    try:
        owner = replace(typed(managed_model()), namespace=namespace)
        moved = LastTransitionSnapshot.model_validate(MOVED)
        event = transition_event(owner, typed_pod(pod()), "tts", moved, NOW, "me")
        name = event["metadata"]["name"]
        await post(kube, event)
        await post(kube, event)
        assert await tell_more(kube, namespace, name, 7, NOW + 60)
        assert await tell_more(kube, namespace, name, 9, NOW + 120)
        assert not await tell_more(kube, namespace, "not-there", 2, NOW)
    finally:
        await kube.close()
    stored = control_plane.api.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}")
    assert stored["series"]["count"] == 9
    assert "x9" in control_plane.kubectl("events", "--for", "managedmodel/tts", namespace=namespace)
