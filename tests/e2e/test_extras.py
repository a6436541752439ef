"""What is off by default: the console, reached as its page says, and the webhook that puts sidecars into pods."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from . import manifests
from .conftest import INSTALL
from .stage import CHART, Document, Stage
from .traffic import ask

INJECTED = "injected"
WEBHOOK = "deployment/dormouse-webhook"


@pytest.fixture(scope="module")
def extras(stage: Stage, release: str) -> str:
    """The release, with both switched on. Its namespace."""
    stage.helm(
        "upgrade", "dormouse", str(CHART), "--namespace", release, "--wait", "--timeout=120s", *INSTALL,
        "--set=console.enabled=true,console.image.tag=e2e,webhook.enabled=true,webhook.replicas=1,sidecar.image.tag=e2e",
    )  # fmt: skip
    return release


@pytest.fixture(scope="module")
def console(stage: Stage, extras: str) -> Iterator[httpx.Client]:
    with (
        _forwarded(stage, extras, "deployment/dormouse-console", 7861) as address,
        httpx.Client(base_url=address, timeout=30, trust_env=False) as http,
    ):
        yield http


def test_the_console_shows_who_asks_what_that_one_may_see(stage: Stage, speech: str, console: httpx.Client) -> None:
    assert console.get("/").status_code == 200
    assert console.get("/api/fleet", params={"namespace": speech}).status_code == 401
    rights = ("--verb=get,list", "--resource=managedmodels.dormouse.dev,pods")
    stage.kubectl("create", "serviceaccount", "looker", namespace=speech)
    stage.kubectl("create", "role", "looker", *rights, namespace=speech)
    stage.kubectl(
        "create", "rolebinding", "looker", "--role=looker", f"--serviceaccount={speech}:looker", namespace=speech
    )
    bearer = {"Authorization": f"Bearer {stage.kubectl('create', 'token', 'looker', namespace=speech).strip()}"}
    seen = console.get("/api/fleet", params={"namespace": speech}, headers=bearer)
    assert seen.status_code == 200, seen.text
    assert "embeddings" in seen.text
    savings = console.get("/api/savings", params={"namespace": speech}, headers=bearer)
    assert savings.status_code == 200, savings.text
    refused = console.post(f"/api/models/{speech}/embeddings/change", json={"change": "wake"}, headers=bearer)
    assert refused.status_code == 403
    assert (
        f'User "system:serviceaccount:{speech}:looker" cannot patch resource "managedmodels"'
        in refused.json()["detail"]
    )


@pytest.mark.usefixtures("extras")
def test_a_labelled_pod_gets_a_sidecar_and_its_model_sleeps_and_wakes(stage: Stage) -> None:
    stage.namespace(INJECTED)
    stage.rolled_out(WEBHOOK, "dormouse-system")
    stage.apply(*_without_a_word_of_dormouse("plain"), namespace=INJECTED)
    stage.rolled_out("deployment/plain", INJECTED)
    assert _sidecars(stage, "plain") == [[manifests.SIDECAR]]
    policy = manifests.managed_model("plain", offloadAfterSeconds=5, minResidentSeconds=1)
    stage.apply(policy, namespace=INJECTED)
    url = stage.address("plain", INJECTED)
    awake = ask(url)
    assert awake.failure == ""
    stage.until("asleep", lambda: stage.status(INJECTED, "plain").get("residency") == "CPU", seconds=120)
    woken = ask(url)
    assert woken.failure == ""
    assert woken.embedding == awake.embedding


def test_without_the_webhook_a_labelled_pod_starts_alone_and_serves(stage: Stage, extras: str) -> None:
    stage.kubectl("scale", WEBHOOK, "--replicas=0", namespace=extras)
    stage.until("it is gone", lambda: not stage.pods(extras, "app.kubernetes.io/component=webhook"))
    stage.apply(*_without_a_word_of_dormouse("alone"), namespace=INJECTED)
    stage.rolled_out("deployment/alone", INJECTED)
    assert _sidecars(stage, "alone") == [[]]
    assert ask(stage.address("alone", INJECTED)).failure == ""
    stage.kubectl("delete", "namespace", INJECTED, "--timeout=55s")


def _without_a_word_of_dormouse(name: str) -> list[Document]:
    """The server as its authors deploy it, and the one label."""
    deployment, service = manifests.model_server(name)
    template = deployment["spec"]["template"]
    template["metadata"]["labels"] = {"app": name, "dormouse.dev/inject": "true"}
    pod = template["spec"]
    (model,) = pod["containers"]
    del pod["initContainers"], model["env"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] == "tmp"]
    model["volumeMounts"] = [mount for mount in model["volumeMounts"] if mount["name"] == "tmp"]
    return [deployment, service]


def _sidecars(stage: Stage, app: str) -> list[list[str]]:
    pods = stage.pods(INJECTED, f"app={app}")
    return [[container["name"] for container in pod["spec"].get("initContainers", [])] for pod in pods]


@contextmanager
def _forwarded(stage: Stage, namespace: str, target: str, port: int) -> Iterator[str]:
    """`kubectl port-forward`, as a person types it; the address on this side."""
    with subprocess.Popen(
        [stage.node.control_plane.kubectl_path, "--namespace", namespace, "port-forward", target, f":{port}"],
        env=stage.node.control_plane.kubectl_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as forward:  # fmt: skip
        try:
            assert forward.stdout is not None
            said = forward.stdout.readline()
            assert said.startswith("Forwarding from 127.0.0.1:"), said
            yield f"http://{said.split()[2]}"
        finally:
            forward.terminate()
