"""A rolling restart under load costs nobody more than it does without Dormouse."""

from __future__ import annotations

from . import manifests
from .stage import Stage
from .test_disturbances import sleeps_again
from .traffic import Answer, Traffic, ask


def restart_under_load(stage: Stage, namespace: str, name: str) -> tuple[list[Answer], int]:
    """The failures, and how many requests there were."""
    url = stage.address(name, namespace)
    assert ask(url).failure == ""
    with Traffic(url) as traffic:
        stage.until("traffic flows", lambda: len(traffic.answers) >= 5)
        stage.kubectl("rollout", "restart", f"deployment/{name}", namespace=namespace)
        stage.rolled_out(f"deployment/{name}", namespace)
        stage.until("the old pods are gone", lambda: len(all_pods(stage, namespace, name)) == 2, seconds=90)
    return traffic.failures, len(traffic.answers)


def all_pods(stage: Stage, namespace: str, name: str) -> list[object]:
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=app={name}"
    return list(stage.node.control_plane.api.request("GET", path)["items"])


def test_a_rolling_restart_fails_no_request_more_than_it_does_without_dormouse(stage: Stage, speech: str) -> None:
    plain = stage.namespace("plain")
    stage.apply(*manifests.model_server("alone", replicas=2, with_dormouse=False), namespace=plain)
    stage.rolled_out("deployment/alone", plain)
    without, _ = restart_under_load(stage, plain, "alone")
    stage.kubectl("delete", "deployment", "alone", namespace=plain)
    with_dormouse, requests = restart_under_load(stage, speech, "embeddings")
    assert requests > 20
    failures = [answer.failure for answer in with_dormouse]
    assert len(failures) <= len(without), f"without Dormouse {len(without)}, with it: {failures}"


def test_new_pods_sleep_like_the_old_ones(stage: Stage, speech: str) -> None:
    stage.until("the new pods sleep", lambda: sleeps_again(stage, speech), seconds=120)
