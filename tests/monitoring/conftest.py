"""One stage for all of these tests: cluster, operator, Prometheus with our rules, and a server with troubles.

It lives through a story once, at the start: models fall asleep and wake, one after the other meets its trouble.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dormouse_contract import Residency

from examples.demo.stage import Replica, Stage
from tests.waiting import eventually

from .hurried import hurried
from .troubled_app import HANGING

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "charts" / "dormouse" / "files" / "rules"
NAMESPACE = "watched"
LADDER = {"offloadAfterSeconds": 2, "unloadAfterSeconds": 600, "minResidentSeconds": 0}
CALM_CYCLES = 4


class Watched:
    """What the tests look at: Prometheus, and the one replica."""

    def __init__(self, stage: Stage, replica: Replica, http: httpx.Client) -> None:
        self.stage, self.replica, self.http = stage, replica, http
        self.prometheus = stage.cluster.prometheus

    def manage(self, model: str, **spec: Any) -> None:
        body = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"name": model},
            "spec": {"selector": {"matchLabels": {"app": self.replica.name}}, "model": model, **spec},
        }
        self.stage.cluster.kubectl("apply", "-f", "-", namespace=NAMESPACE, input=json.dumps(body))

    def ask(self, model: str) -> int:
        """The status of the answer."""
        return self.http.get(f"{self.replica.url}/ask/{model}").status_code

    def until_on(self, model: str, residency: Residency, deadline_seconds: float = 60.0) -> None:
        def there() -> bool:
            seen = self.replica.snapshot(self.http, model)
            return seen.residency is residency and not seen.transition

        eventually(f"{model} is on {residency}", there, deadline_seconds)

    def firing(self, alert: str, deadline_seconds: float = 60.0, **labels: str) -> None:
        """Waits until Prometheus shows the alert firing with these labels."""
        chosen = ", ".join(f'{name}="{value}"' for name, value in {"alertname": alert, **labels}.items())
        self.prometheus.wait_for(f'ALERTS{{alertstate="firing", {chosen}}}', deadline_seconds=deadline_seconds)


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("monitoring")
    (folder / HANGING).touch()
    with (
        Stage(rule_files=hurried(RULES, folder)) as stage,
        httpx.Client(timeout=90, trust_env=False) as http,
    ):
        stage.add_namespace(NAMESPACE)
        replica = stage.add_replica(
            "troubled",
            NAMESPACE,
            app="tests.monitoring.troubled_app:create_app",
            environment={"TROUBLE_FOLDER": str(folder)},
        )
        # A key for ten days only, of which an alert tells.
        stage.start_operator("--key-lifetime=864000")
        stage.wait_until_ready()
        watched = Watched(stage, replica, http)
        patient = [threading.Thread(target=watched.ask, args=(model,)) for model in ("slow", "hangs")]
        for thread in patient:
            thread.start()
        try:
            _live_through(watched)
            yield watched
        finally:
            (folder / HANGING).unlink()
            for thread in patient:
                thread.join()


def _live_through(watched: Watched) -> None:
    """Until there is something to see in each panel."""
    watched.manage("calm", policy=LADDER)
    watched.manage("shares", policy=LADDER)
    watched.manage("stays", mode="Observe", policy={"offloadAfterSeconds": 1, "minResidentSeconds": 0})
    assert watched.ask("stays") == 200
    assert watched.ask("shares") == 200
    for _ in range(CALM_CYCLES):
        assert watched.ask("calm") == 200
        watched.until_on("calm", Residency.CPU)
