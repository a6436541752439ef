"""One node for all checks, in the order in which a user would meet what they promise.

Nothing here is collected by `make test`: these checks need a node, and `python -m tests.e2e` prepares one.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster.node import Node

from . import manifests
from .evidence import keep_evidence
from .stage import CHART, SCRAPE_SECONDS, Stage

DIRECTORY = os.environ.get("E2E_DIRECTORY", "")
OUTPUT = Path(os.environ.get("E2E_OUTPUT", "build/e2e"))
ORDER = ("the_loop", "rights", "disturbances", "rollouts", "upgrade", "extras", "uninstall", "single_namespace")
SYSTEM = "dormouse-system"
MONITORING = "monitoring"
INSTALL = (
    f"--set=imageRegistry=localhost,image.tag=e2e,prometheus.url=http://prometheus.{MONITORING}.svc:9090,"
    f"prometheus.scrapeIntervalSeconds={SCRAPE_SECONDS},tickSeconds=1",
)
collect_ignore_glob = [] if DIRECTORY else ["test_*.py"]
_checks: list[dict[str, Any]] = []


def pytest_configure() -> None:
    # The first process of a namespace ignores a SIGTERM that it does not handle.
    if DIRECTORY:
        signal.signal(signal.SIGTERM, lambda *_: pytest.exit("stopped by SIGTERM", returncode=130))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return ORDER.index(name) if name in ORDER else -1

    items.sort(key=place)  # stable: within a file as written


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.failed:
        record(report.nodeid.rpartition("/")[2], report.passed, report.duration)


def record(name: str, ok: bool, seconds: float) -> None:
    """One more entry of the summary, which is whole after each."""
    _checks.append({"name": name, "ok": ok, "seconds": round(seconds, 2)})
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "summary.json").write_text(json.dumps({"checks": _checks}, indent=2) + "\n")


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The node with every image and a Prometheus; when a check failed, its logs are kept before it goes."""
    directory = Path(DIRECTORY)
    images = json.loads((directory / "images.json").read_text())
    sandbox = os.environ["E2E_SANDBOX_IMAGE"]
    began = time.monotonic()
    with Node(directory, sandbox_image=sandbox, cgroup=os.environ["E2E_CGROUP"]) as node:
        for printing in images:
            node.containerd.load(printing)
        stage = Stage(node, directory)
        try:
            stage.namespace(MONITORING)
            stage.apply(*manifests.prometheus(MONITORING), namespace=MONITORING)
            stage.rolled_out("deployment/prometheus", MONITORING)
            record("a node runs pods: images are there and Prometheus is up", True, time.monotonic() - began)
            yield stage
        finally:
            if request.session.testsfailed:
                keep_evidence(stage, OUTPUT)
                if os.environ.get("E2E_KEEP"):
                    signal.pause()


@pytest.fixture(scope="session")
def release(stage: Stage) -> str:
    """The chart, installed as the README says, for the whole cluster. Its namespace."""
    stage.namespace(SYSTEM)
    stage.helm("install", "dormouse", str(CHART), "--namespace", SYSTEM, "--wait", "--timeout=120s", *INSTALL)
    return SYSTEM


@pytest.fixture(scope="session")
def speech(stage: Stage, release: str) -> str:
    """A namespace with two replicas of the example behind a Service, and a ManagedModel for them."""
    namespace = stage.namespace("speech")
    stage.apply(*manifests.model_server("embeddings", replicas=2), namespace=namespace)
    policy = manifests.managed_model("embeddings", offloadAfterSeconds=6, unloadAfterSeconds=16, minResidentSeconds=1)
    stage.apply(policy, namespace=namespace)
    stage.rolled_out("deployment/embeddings", namespace)
    return namespace


@pytest.fixture(scope="session")
def url(stage: Stage, speech: str) -> str:
    """The example's Service, by its cluster address: kube-proxy chooses the pod."""
    return stage.address("embeddings", speech)
