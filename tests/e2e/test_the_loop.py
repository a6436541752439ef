"""The main promise: an idle model leaves the GPU and then RAM, and nobody's request ever fails for it."""

from __future__ import annotations

import json

import pytest

from . import manifests
from .stage import Stage
from .traffic import SENTENCE, Answer, ask


def at(stage: Stage, namespace: str, residency: str) -> bool:
    """Every replica is there, and the operator says so."""
    replicas = stage.status(namespace, "embeddings").get("replicas", {})
    return bool(replicas.get("total") == 2 and replicas.get(residency) == 2)


@pytest.fixture(scope="module")
def first(url: str) -> Answer:
    """The first request of all: it loads the model."""
    return ask(url)


def test_the_first_request_wakes_the_model_and_is_answered(first: Answer) -> None:
    assert first.failure == ""
    assert len(first.embedding) == 384


def test_an_idle_model_leaves_the_gpu_and_then_host_memory(stage: Stage, speech: str, url: str, first: Answer) -> None:
    # The kubelet brings the operator's certificate to a running pod within a minute or two. Who is idle for longer
    # than that before the first order goes straight to Unloaded, so it is used again when orders reach it.
    stage.until("orders reach the pods", lambda: _holds(stage, speech, "ReplicasReachable"), seconds=180)
    assert ask(url).embedding == first.embedding

    def gone() -> bool:
        last = stage.status(speech, "embeddings").get("lastTransition", {})
        down = (last.get("from"), last.get("to"), last.get("trigger")) == ("CPU", "Unloaded", "Idle")
        return down and at(stage, speech, "unloaded")

    stage.until("offloaded, then unloaded", gone, seconds=120)


def _holds(stage: Stage, namespace: str, condition: str) -> bool:
    conditions = stage.status(namespace, "embeddings").get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def test_the_request_after_that_brings_it_back_with_the_same_answer(
    stage: Stage, speech: str, url: str, first: Answer
) -> None:
    stage.until("unloaded", lambda: at(stage, speech, "unloaded"), seconds=60)
    again = ask(url)
    assert again.failure == ""
    assert again.embedding == first.embedding


def test_many_rounds_of_sleep_and_wake_lose_no_request(stage: Stage, speech: str, url: str, first: Answer) -> None:
    answers: list[Answer] = []
    for _ in range(3):
        answers += [ask(url) for _ in range(6)]
        # What a pod says to anybody who asks all the time may be a second old.
        stage.until("awake", lambda: stage.on_gpu(speech, "app=embeddings") > 0, seconds=5)
        stage.until("asleep again", lambda: stage.on_gpu(speech, "app=embeddings") == 0, seconds=60)
    answers += [ask(url) for _ in range(6)]
    assert [answer.failure for answer in answers if answer.failure] == []
    assert {answer.embedding for answer in answers} == {first.embedding}


def test_the_managed_model_is_ready_and_kubectl_shows_it(stage: Stage, speech: str) -> None:
    def conditions() -> dict[str, str]:
        return {c["type"]: c["status"] for c in stage.status(speech, "embeddings").get("conditions", [])}

    everything = {"Ready": "True", "IdleSignalAvailable": "True", "ReplicasReachable": "True"}
    stage.until("every condition is True", lambda: conditions() == everything)
    assert "embeddings" in stage.kubectl("get", "dmm", namespace=speech)


def test_a_client_pod_reaches_it_by_its_name_in_cluster_dns(stage: Stage, speech: str, first: Answer) -> None:
    visitors = stage.namespace("visitors")
    stage.apply(manifests.bystander("visitor"), namespace=visitors)
    stage.kubectl("wait", "--for=condition=Ready", "pod/visitor", "--timeout=50s", namespace=visitors)
    script = (
        "import json, sys, urllib.request as r; "
        "q = r.Request('http://embeddings.speech.svc.cluster.local/v1/embeddings', "
        f"json.dumps({{'input': {SENTENCE!r}}}).encode(), {{'content-type': 'application/json'}}); "
        "sys.stdout.write(r.urlopen(q, timeout=50).read().decode())"
    )
    answer = json.loads(stage.kubectl("exec", "visitor", "--", "python3", "-c", script, namespace=visitors))
    assert tuple(answer["data"][0]["embedding"]) == first.embedding


def test_helm_test_is_green(stage: Stage, release: str) -> None:
    assert "Succeeded" in stage.helm("test", "dormouse", "--namespace", release, "--timeout=90s")
