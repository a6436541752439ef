"""The webhook as the real API server asks it, through the chart's own MutatingWebhookConfiguration."""

import base64
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dormouse_operator.errors import SettingsError
from dormouse_operator.webhook.admission import Certificate, answer
from dormouse_operator.webhook.settings import SidecarSettings

from localcluster import ControlPlane
from localcluster.pki import CertificateAuthority, KeyPair
from localcluster.ports import reserve_port
from localcluster.process import Process
from tests.chart.helm import only, template

from .pods import Pod, pod

IMAGE = "registry.example.com/dormouse-sidecar:1"


def put(folder: Path, pair: KeyPair) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "tls.crt").write_bytes(pair.certificate.read_bytes())
    (folder / "tls.key").write_bytes(pair.key.read_bytes())


class Webhook:
    """`dormouse-operator webhook` as a process, and the configuration that makes the API server ask it."""

    def __init__(self, directory: Path, control_plane: ControlPlane) -> None:
        self.authority = CertificateAuthority(directory / "pki")
        put(directory / "tls", self.authority.issue("webhook", common_name="webhook"))
        self.url = f"https://127.0.0.1:{reserve_port()}"
        arguments = ("--port", self.url.rpartition(":")[2], "--host", "127.0.0.1", "--sidecar-image", IMAGE)
        self.process = Process(
            "webhook",
            [
                sys.executable,
                "-m",
                "dormouse_operator.cli",
                "webhook",
                *arguments,
                "--certificate-dir",
                directory / "tls",
            ],
            directory=directory,
            environment={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._control_plane = control_plane

    def start(self) -> None:
        tls = ssl.create_default_context(cafile=str(self.authority.certificate))

        def answers() -> bool:
            try:
                return httpx.get(f"{self.url}/healthz", verify=tls, trust_env=False).is_success
            except httpx.TransportError:
                return False

        self.process.start()
        self.process.wait_until(answers, deadline_seconds=60, what="healthy")

    def manifest(self, namespace: str) -> str:
        found = only(template({"webhook": {"enabled": True}, "watch": {"namespaces": [namespace]}}),
                     "MutatingWebhookConfiguration")  # fmt: skip
        bundle = base64.b64encode(self.authority.certificate.read_bytes()).decode()
        found["webhooks"][0]["clientConfig"] = {"url": f"{self.url}/inject", "caBundle": bundle}
        return json.dumps(found)


@pytest.fixture(scope="module")
def running(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    webhook = Webhook(tmp_path_factory.mktemp("webhook"), control_plane)
    with webhook.process:
        webhook.start()
        yield webhook


@pytest.fixture
def webhook(running: Webhook, control_plane: ControlPlane, namespace: str) -> Iterator[Webhook]:
    """Configured for this test's namespace, and known to the API server to be so."""
    manifest = running.manifest(namespace)
    control_plane.kubectl("apply", "--filename", "-", input=manifest)
    deadline = time.monotonic() + 30
    # The API server learns of a new configuration by a watch, so the first pods may be made without it.
    while not sidecars(apply(control_plane, namespace, pod(), "--dry-run=server")[0]):
        assert time.monotonic() < deadline, "the API server never asked the webhook"
        time.sleep(0.1)
    yield running
    control_plane.kubectl("delete", "--filename", "-", input=manifest)


def apply(control_plane: ControlPlane, namespace: str, body: Pod, *more: str) -> tuple[Pod, str]:
    """The pod as it is stored, and what kubectl warns of."""
    answered = subprocess.run(
        [control_plane.kubectl_path, "--namespace", namespace, "apply", "-o", "json", *more, "--filename", "-"],
        input=json.dumps(body),
        env=control_plane.kubectl_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    stored: Pod = json.loads(answered.stdout)
    return stored, answered.stderr


def sidecars(stored: Pod) -> list[Any]:
    return [c["image"] for c in stored["spec"].get("initContainers", ()) if c["name"] == "dormouse-sidecar"]


def unlabelled(**spec: Any) -> Pod:
    body = pod(**spec)
    body["metadata"] = {"name": "unlabelled"}
    return body


def test_a_pod_that_asks_gets_a_sidecar(control_plane: ControlPlane, namespace: str, webhook: Webhook) -> None:
    stored, warnings = apply(control_plane, namespace, pod())
    assert sidecars(stored) == [IMAGE]
    assert not warnings
    # What is applied again is found as it is: nothing is added a second time.
    assert sidecars(apply(control_plane, namespace, pod())[0]) == [IMAGE]


def test_a_pod_that_does_not_ask_stays_as_it_is(control_plane: ControlPlane, namespace: str, webhook: Webhook) -> None:
    stored, _ = apply(control_plane, namespace, unlabelled())
    assert "initContainers" not in stored["spec"]
    assert "volumes" not in stored["spec"]


def test_nonsense_is_shown_as_a_warning(control_plane: ControlPlane, namespace: str, webhook: Webhook) -> None:
    stored, warnings = apply(control_plane, namespace, pod(annotations={"dormouse.dev/container": "speech"}))
    assert sidecars(stored) == []
    assert "Warning: dormouse: no sidecar was injected" in warnings
    assert "write one of model" in warnings


def test_another_namespace_is_none_of_its_business(
    control_plane: ControlPlane, namespace: str, webhook: Webhook
) -> None:
    stored, _ = apply(control_plane, "default", pod(), "--dry-run=server")
    assert sidecars(stored) == []


def test_while_it_is_down_every_pod_is_made(control_plane: ControlPlane, namespace: str, webhook: Webhook) -> None:
    webhook.process.stop()
    try:
        assert sidecars(apply(control_plane, namespace, pod())[0]) == []
        assert apply(control_plane, namespace, unlabelled())[0]["metadata"]["name"] == "unlabelled"
    finally:
        webhook.start()


SETTINGS = SidecarSettings(IMAGE)


def test_a_pod_that_can_not_be_read_is_allowed_all_the_same() -> None:
    broken = {"spec": {"containers": [{"name": "a", "env": 7}]}}
    said = answer({"request": {"uid": "1", "object": broken}}, SETTINGS)["response"]
    assert said["allowed"] is True
    assert "patch" not in said
    assert "could not be read" in said["warnings"][0]


@pytest.mark.parametrize("body", [[], {}, {"request": None}, {"request": {"uid": 7}}, "x"])
def test_what_is_no_review_is_a_bad_request(body: Any) -> None:
    with pytest.raises(ValueError, match="no AdmissionReview"):
        answer(body, SETTINGS)


def test_a_replaced_certificate_is_shown_and_a_broken_one_is_not(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "pki")
    put(tmp_path / "tls", authority.issue("one", common_name="one"))
    certificate = Certificate(tmp_path / "tls")
    assert certificate.refresh() is False
    put(tmp_path / "tls", authority.issue("two", common_name="two"))
    assert certificate.refresh() is True
    (tmp_path / "tls" / "tls.key").write_bytes((tmp_path / "pki" / "one.key").read_bytes())
    with pytest.raises(ssl.SSLError):
        certificate.refresh()


def test_without_a_certificate_it_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--certificate-dir"):
        Certificate(tmp_path)
