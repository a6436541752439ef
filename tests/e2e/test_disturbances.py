"""Something is killed with SIGKILL while clients go on asking: what they see, and how it comes back."""

from __future__ import annotations

import json
import time
from pathlib import Path

from . import manifests
from .stage import Stage
from .traffic import Traffic, ask

RECOVERY_SECONDS = 120.0
# The kubelet looks once a second, kube-proxy follows: so long may a dead container still be sent requests.
NOTICED_SECONDS = 15.0
FINDINGS = Path(__file__).parent.parent.parent / "build" / "e2e"


def sleeps_again(stage: Stage, namespace: str) -> bool:
    """The whole loop works: signal, order, and the replicas' own state; and status says so."""
    replicas = stage.status(namespace, "embeddings").get("replicas", {})
    settled = replicas.get("total") == 2 and replicas.get("gpu") == 0 and replicas.get("unknown") == 0
    return bool(settled and stage.on_gpu(namespace, "app=embeddings") == 0)


def restarted(stage: Stage, namespace: str, pod: str, container: str) -> bool:
    found = stage.get("pods", pod, namespace)
    ready = {c["type"]: c["status"] for c in found["status"]["conditions"]}.get("Ready")
    return ready == "True" and stage.restarts(namespace, pod, container) > 0


def test_a_killed_sidecar_costs_no_request_and_the_model_still_sleeps_afterwards(
    stage: Stage, speech: str, url: str
) -> None:
    assert ask(url).failure == ""
    pod = stage.pods(speech, "app=embeddings")[0]["metadata"]["name"]
    with Traffic(url) as traffic:
        stage.kill(speech, pod, manifests.SIDECAR)
        stage.until("the sidecar is back", lambda: restarted(stage, speech, pod, manifests.SIDECAR), RECOVERY_SECONDS)
    assert [answer.failure for answer in traffic.failures] == []
    stage.until("both replicas sleep", lambda: sleeps_again(stage, speech), RECOVERY_SECONDS)


def test_a_killed_operator_costs_no_request_and_the_model_still_sleeps_afterwards(
    stage: Stage, speech: str, url: str, release: str
) -> None:
    assert ask(url).failure == ""
    operators = stage.pods(release, "app.kubernetes.io/component=operator")
    with Traffic(url) as traffic:
        for pod in operators:
            stage.kill(release, pod["metadata"]["name"], "operator")
        for pod in operators:
            name = pod["metadata"]["name"]
            stage.until("the operator is back", lambda name=name: restarted(stage, release, name, "operator"),
                        RECOVERY_SECONDS)  # fmt: skip
    assert [answer.failure for answer in traffic.failures] == []
    stage.until("both replicas sleep", lambda: sleeps_again(stage, speech), RECOVERY_SECONDS)


def test_a_killed_model_container_fails_requests_only_until_its_pod_leaves_the_service(
    stage: Stage, speech: str, url: str
) -> None:
    expected = ask(url).embedding
    pod = stage.pods(speech, "app=embeddings")[0]["metadata"]["name"]
    with Traffic(url) as traffic:
        stage.until("traffic flows", lambda: len(traffic.answers) >= 5)
        killed = time.monotonic()
        stage.kill(speech, pod, "model")
        stage.until("the model is back", lambda: restarted(stage, speech, pod, "model"), RECOVERY_SECONDS)
        recovered = time.monotonic()
        # The kubelet's Ready comes a moment before kube-proxy's rules.
        stage.until("some more were answered", lambda: len(traffic.answers) and time.monotonic() - recovered > 5)
    late = [answer for answer in traffic.failures if answer.sent > killed + NOTICED_SECONDS]
    (FINDINGS / "killed-model-container.json").write_text(
        json.dumps({
            "requests": len(traffic.answers),
            "failed": len(traffic.failures),
            "last_failure_after_seconds": round(max((a.sent - killed for a in traffic.failures), default=0.0), 2),
            "ready_again_after_seconds": round(recovered - killed, 2),
        }, indent=2)
    )  # fmt: skip
    assert [answer.failure for answer in late] == []
    assert {answer.embedding for answer in traffic.answers if not answer.failure} == {expected}
    stage.until("both replicas sleep", lambda: sleeps_again(stage, speech), RECOVERY_SECONDS)
