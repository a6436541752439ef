"""The whole loop, once for all of these tests: cluster, operator, one model server with its sidecar."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import torch
from dormouse_contract import Residency
from dormouse_contract.wire import ModelSnapshot

from examples.demo.stage import Replica, Stage
from tests import waiting

from .tiny_app import FEATURES, load

NAMESPACE = "loop"
APP = "tests.loop.tiny_app:create_app"
# Each of these is several scrapes, ticks and moves.
eventually = partial(waiting.eventually, deadline_seconds=90.0)


class Loop:
    """What a user has: kubectl, the app's port, and the replica's snapshot."""

    def __init__(self, stage: Stage, replica: Replica, http: httpx.Client) -> None:
        self.stage, self.replica, self.http = stage, replica, http

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.stage.cluster.kubectl(*arguments, namespace=NAMESPACE, **options)

    def apply(self, name: str, **spec: Any) -> None:
        body = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "tiny"}}, "model": "tiny", **spec},
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(body))

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "dmm", name, "-o", "json")).get("status", {})
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        return next((c for c in self.status(name).get("conditions", []) if c["type"] == kind), {})

    def snapshot(self) -> ModelSnapshot:
        return self.replica.snapshot(self.http, "tiny")

    def ask(self, number: int = 1) -> list[float]:
        answer = self.http.get(f"{self.replica.url}/ask/{number}")
        answer.raise_for_status()
        vector: list[float] = answer.json()
        return vector

    def until_watched(self, name: str) -> None:
        """Until the operator acts on its idle signal: one that starts late finds the model idle for too long."""
        self.ask()
        eventually("the signal is there", lambda: self.condition(name, "IdleSignalAvailable").get("status") == "True")

    def until_on(self, residency: Residency) -> ModelSnapshot:
        def there() -> ModelSnapshot | None:
            snapshot = self.snapshot()
            return snapshot if snapshot.residency is residency and snapshot.transition is None else None

        try:
            found: ModelSnapshot = eventually(f"the weights are on {residency}", there)
        except AssertionError as error:
            error.add_note(f"the replica says {self.snapshot()!r}")
            raise
        return found


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        stage.add_namespace(NAMESPACE)
        stage.add_replica("tiny", NAMESPACE, app=APP)
        stage.start_operator()
        stage.wait_until_ready()
        yield stage


@pytest.fixture
def loop(stage: Stage) -> Iterator[Loop]:
    """Leaves no ManagedModel behind; the operator and Prometheus run at the start and at the end of each test."""
    with httpx.Client(timeout=60, trust_env=False) as http:
        loop = Loop(stage, stage.replicas[0], http)
        yield loop
        assert stage.operator is not None
        stage.operator.start()
        stage.cluster.prometheus.start()
        loop.kubectl("delete", "dmm", "--all", "--wait=true", "--timeout=10s")


class Users:
    """Three who ask all the time, now and then with a pause. None may fail or get another answer."""

    PAUSES = (0.1, 0.3, 0.1, 1.7, 0.2, 4.0)

    def __init__(self, url: str) -> None:
        self.asked = 0
        self.problems: list[str] = []
        self._url = url
        twin = load()  # in one thread: it seeds torch's global generator
        with torch.inference_mode():
            self._expected = {seed: twin(torch.full((FEATURES,), float(seed))).tolist() for seed in (1, 2, 3)}
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._use, args=(seed,), daemon=True) for seed in (1, 2, 3)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def until_asked(self, more: int) -> None:
        target = self.asked + more
        eventually("the users ask", lambda: self.asked >= target)

    def _use(self, seed: int) -> None:
        expected = self._expected[seed]
        pauses = itertools.cycle(self.PAUSES[seed:] + self.PAUSES[:seed])
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as http:
            while not self._stopped.wait(next(pauses)):
                try:
                    answer = http.get(f"/ask/{seed}")
                    if answer.status_code != 200 or answer.json() != expected:
                        self.problems.append(f"{answer.status_code}: {answer.text[:200]}")
                    self.asked += 1
                except httpx.HTTPError as error:
                    self.problems.append(f"{type(error).__name__}: {error}")


@pytest.fixture
def users(loop: Loop) -> Iterator[Users]:
    users = Users(loop.replica.url)
    users.start()
    users.until_asked(1)
    yield users
    users.stop()
    assert not users.problems, users.problems[:5]
