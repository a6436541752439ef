"""Uninstalling leaves nothing stuck: models can be woken, objects deleted, pods started."""

from __future__ import annotations

from .stage import Stage
from .traffic import ask


def test_after_helm_uninstall_sleeping_models_wake_for_their_next_request(
    stage: Stage, speech: str, url: str, release: str
) -> None:
    def asleep() -> bool:
        return bool(stage.status(speech, "embeddings").get("replicas", {}).get("unloaded") == 2)

    stage.until("both replicas are unloaded", asleep, seconds=120)
    stage.helm("uninstall", "dormouse", "--namespace", release, "--wait", "--timeout=90s")
    stage.until("the operator is gone", lambda: not stage.pods(release, "app.kubernetes.io/component=operator"))
    answers = [ask(url) for _ in range(10)]
    assert [answer.failure for answer in answers if answer.failure] == []


def test_the_managed_models_are_still_there_and_can_be_deleted(stage: Stage, speech: str) -> None:
    assert stage.get("managedmodels", "embeddings", speech)
    stage.kubectl("delete", "managedmodel", "embeddings", "--timeout=20s", namespace=speech)


def test_a_pod_starts_and_serves_without_the_operator(stage: Stage, speech: str, url: str) -> None:
    stage.kubectl("rollout", "restart", "deployment/embeddings", namespace=speech)
    stage.rolled_out("deployment/embeddings", speech)
    assert ask(url).failure == ""
    stage.kubectl("delete", "namespace", speech, "--timeout=55s")
