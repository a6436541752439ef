"""A running stage with the console in front of it, once for all of these tests, and people with different rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from dormouse_contract import Residency
from playwright.sync_api import Browser

from examples.demo.stage import Replica, Stage
from tests.modelserver.panel.browser import launched

from .people import HOME, ROLES, Person, hire
from .running import console, with_tokens

NAMESPACE, OTHER = "speech", "vision"
MODEL = "tts"
LADDER = {"offloadAfterSeconds": 3600, "unloadAfterSeconds": 7200, "minResidentSeconds": 0}


@dataclass(frozen=True, slots=True)
class World:
    """`url` is the console's, without rights of its own."""

    stage: Stage
    replica: Replica
    url: str

    def manage(self, namespace: str, name: str, **spec: Any) -> None:
        body = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": name}}, **spec},
        }
        self.stage.cluster.kubectl("apply", "-f", "-", input=json.dumps(body))

    def spec(self, namespace: str = NAMESPACE, name: str = MODEL) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.stage.cluster.kubectl("get", "dmm", name, "-o", "json", namespace=namespace)
        )["spec"]
        return found

    def residency(self) -> Residency:
        with httpx.Client(timeout=10, trust_env=False) as http:
            return self.replica.snapshot(http, MODEL).residency

    def reset(self) -> None:
        """Auto, Active, asleep in host RAM at the replica itself is left as it is."""
        self.stage.cluster.kubectl(
            *("patch", "dmm", MODEL, "--type=merge", "-p"),
            json.dumps({"spec": {"residency": "Auto", "residencyUntil": None, "mode": "Active"}}),
            namespace=NAMESPACE,
        )


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Stage() as stage:
        for namespace in (NAMESPACE, OTHER, HOME):
            stage.add_namespace(namespace)
        app, environment = "tests.loop.tiny_app:create_app", {"TINY_MODEL": MODEL}
        replica = stage.add_replica(MODEL, NAMESPACE, app=app, environment=environment)
        stage.start_operator()
        stage.cluster.kubectl("apply", "-f", str(ROLES))
        folder = tmp_path_factory.mktemp("console")
        with console(folder, stage, *with_tokens(stage)) as url:
            stage.wait_until_ready()
            world = World(stage, replica, url)
            world.manage(NAMESPACE, MODEL, model=MODEL, policy=LADDER)
            world.manage(OTHER, "ocr", mode="Observe", policy=LADDER)
            httpx.get(f"{replica.url}/ask/1", timeout=60, trust_env=False).raise_for_status()
            # Awake, seen by the operator, and in Prometheus with its owner.
            stage.cluster.prometheus.wait_for(f'dormouse_operator_replica_info{{name="{MODEL}"}}', deadline_seconds=60)
            stage.cluster.prometheus.wait_for('dormouse_model_residency{residency="GPU"} == 1', deadline_seconds=60)
            yield world


@pytest.fixture(scope="package")
def permitted(world: World) -> Person:
    return hire(world.stage.cluster, "anna", "dormouse-user", NAMESPACE)


@pytest.fixture(scope="package")
def reader(world: World) -> Person:
    return hire(world.stage.cluster, "ravi", "dormouse-viewer", NAMESPACE)


@pytest.fixture(scope="package")
def stranger(world: World) -> Person:
    """May everything in another namespace."""
    return hire(world.stage.cluster, "sam", "dormouse-user", OTHER)


@pytest.fixture(scope="package")
def everywhere(world: World) -> Person:
    return hire(world.stage.cluster, "eve", "dormouse-viewer", None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while it is open, Playwright's event loop counts as running in this thread."""
    with launched() as browser:
        yield browser
