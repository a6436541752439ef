"""Each watch lives or is begun anew, whatever becomes of its kind, its rights and its namespace: on a real API server.

Two operators watch side by side, each its own objects: one the whole cluster, one listed namespaces with Roles alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from localcluster.controlplane import ControlPlane
from localcluster.crd import CRD_NAME, apply_crd
from localcluster.errors import ApiRefused
from localcluster.workspace import Workspace
from tests.waiting import eventually

from .world import RBAC, OperatorProcess, operator_kubeconfig

NAMESPACED = RBAC.parent / "rbac-namespaced.yaml"
CRD_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD_NAME}"
ROUNDS = 10
AGAIN_SECONDS = 60


@dataclass
class Watching:
    """`whole` has the objects of the namespaces `whole`, and `listed` those of `first` and `second`."""

    control_plane: ControlPlane
    whole: OperatorProcess
    listed: OperatorProcess

    def create(self, namespace: str, name: str) -> None:
        labels = {"of": "whole"} if namespace == "whole" else {}
        body = {"apiVersion": "dormouse.dev/v1alpha1", "kind": "ManagedModel"}
        body |= {"metadata": {"name": name, "labels": labels}, "spec": {"selector": {"matchLabels": {"app": name}}}}
        path = f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels"

        def created() -> bool:
            # A CRD that was made a moment ago is not served by each of the API server's handlers yet.
            try:
                self.control_plane.api.request("POST", path, body)
            except ApiRefused as error:
                if error.status in (404, 405, 429, 503):
                    return False
                raise
            return True

        eventually(f"{namespace}/{name} is created", created)

    def is_seen(self, namespace: str, name: str) -> bool:
        path = f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels/{name}"
        return bool(self.control_plane.api.request("GET", path).get("status", {}).get("conditions"))

    def new_one_is_seen(self, namespace: str, name: str) -> None:
        self.create(namespace, name)
        self.sees(namespace, name)

    def sees(self, namespace: str, name: str) -> None:
        try:
            eventually(f"{namespace}/{name}", lambda: self.is_seen(namespace, name), deadline_seconds=AGAIN_SECONDS)
        except AssertionError as late:
            late.add_note(f"{self.whole.log[-2000:]}\n{self.listed.log[-2000:]}")
            raise

    def delete_crd(self) -> None:
        self.control_plane.api.request("DELETE", CRD_PATH)

        def is_gone() -> bool:
            try:
                self.control_plane.api.request("GET", CRD_PATH)
            except ApiRefused as error:
                return error.status == 404
            return False

        eventually("the CRD is gone", is_gone)

    def are_well(self) -> None:
        for operator in (self.whole, self.listed):
            assert health(operator) == (200, "ok\n")
            assert "Traceback" not in operator.log


def health(operator: OperatorProcess) -> tuple[int, str]:
    answer = httpx.get(f"http://127.0.0.1:{operator.metrics_port}/healthz", trust_env=False, timeout=10)
    return answer.status_code, answer.text


def metrics(operator: OperatorProcess) -> list[str]:
    url = f"http://127.0.0.1:{operator.metrics_port}/metrics"
    return httpx.get(url, trust_env=False, timeout=10).text.splitlines()


def managed(operator: OperatorProcess) -> int:
    name = "dormouse_operator_managed_models{"
    return sum(int(float(line.split()[-1])) for line in metrics(operator) if line.startswith(name))


@pytest.fixture(scope="module")
def own_control_plane() -> Iterator[ControlPlane]:
    workspace = Workspace()
    try:
        with ControlPlane(workspace.path) as running:
            apply_crd(running)
            yield running
    finally:
        workspace.remove()


def roles(namespace: str) -> str:
    return NAMESPACED.read_text().replace("dormouse-system", "listed-operator").replace("speech", namespace)


@pytest.fixture
def watching(own_control_plane: ControlPlane, tmp_path: Path) -> Iterator[Watching]:
    for name in ("whole", "first", "second"):
        own_control_plane.api.create_namespace(name)
    for name in ("first", "second"):
        own_control_plane.kubectl("apply", "-f", "-", input=roles(name))
    kubeconfig = own_control_plane.service_account_kubeconfig("listed-operator", "dormouse-operator")
    prometheus = "http://127.0.0.1:9"
    made = Watching(
        own_control_plane,
        OperatorProcess(
            operator_kubeconfig(own_control_plane),
            prometheus,
            tmp_path / "whole.log",
            flags=["--managed-model-selector=of=whole"],
        ),
        OperatorProcess(
            kubeconfig,
            prometheus,
            tmp_path / "listed.log",
            namespaces="first,second",
            flags=["--operator-namespace=listed-operator"],
        ),
    )
    try:
        made.whole.start()
        made.listed.start()
        yield made
    finally:
        made.whole.kill()
        made.listed.kill()
        for name in ("whole", "first", "second"):
            own_control_plane.api.remove_namespace(name)


def test_a_crd_that_is_deleted_and_made_anew_is_watched_again_ten_times(watching: Watching) -> None:
    pids = watching.whole.pid, watching.listed.pid
    for number in range(ROUNDS):
        for namespace in ("whole", "first", "second"):
            watching.new_one_is_seen(namespace, f"model-{number}")
        watching.are_well()
        watching.delete_crd()
        if number % 3 == 0:
            # Long enough to be noticed, so that what was there is known to be gone.
            for operator in (watching.whole, watching.listed):
                eventually("all are forgotten", lambda o=operator: managed(o) == 0, deadline_seconds=30)
        apply_crd(watching.control_plane)
    watching.new_one_is_seen("whole", "last")
    watching.new_one_is_seen("first", "last")
    watching.are_well()
    assert (watching.whole.pid, watching.listed.pid) == pids


def test_a_namespace_that_takes_its_rights_away_keeps_them_from_itself_only(watching: Watching) -> None:
    api, listed = watching.control_plane.api, watching.listed
    for namespace in ("first", "second"):
        watching.new_one_is_seen(namespace, "before")
    api.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/namespaces/second/rolebindings/dormouse-operator-watched")
    eventually("it is said", lambda: "The pods in second are not watched" in listed.log)
    watching.create("second", "meanwhile")
    watching.new_one_is_seen("first", "meanwhile")
    assert health(listed) == (200, "ok\n")
    listed.terminate()
    listed.start()
    watching.new_one_is_seen("first", "after-a-start")
    assert not watching.is_seen("second", "meanwhile")
    assert health(listed) == (200, "ok\n")
    watching.control_plane.kubectl("apply", "-f", "-", input=roles("second"))
    watching.sees("second", "meanwhile")
    assert listed.log.count("The pods in second are not watched") <= 4, "at most once a minute"
    watching.are_well()


def test_a_listed_namespace_that_is_deleted_and_made_anew_is_watched_again(watching: Watching) -> None:
    api = watching.control_plane.api
    watching.new_one_is_seen("first", "before")
    watching.new_one_is_seen("second", "before")
    api.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/namespaces/first/rolebindings/dormouse-operator-watched")
    api.remove_namespace("first")
    eventually("what was there is forgotten", lambda: managed(watching.listed) == 1)
    api.create_namespace("first")
    watching.control_plane.kubectl("apply", "-f", "-", input=roles("first"))
    watching.new_one_is_seen("first", "after")
    watching.new_one_is_seen("second", "after")
    watching.are_well()


def test_each_watch_shows_when_it_last_lived(watching: Watching) -> None:
    watching.new_one_is_seen("first", "tts")
    began = time.time()

    def alive() -> dict[str, float]:
        name = "dormouse_operator_watch_last_alive_timestamp_seconds"
        shown = (line.removeprefix(name).rsplit(" ", 1) for line in metrics(watching.listed) if line.startswith(name))
        return {labels: float(value) for labels, value in shown}

    assert set(alive()) == {
        f'{{namespace="{namespace}",resource="{resource}"}}'
        for namespace in ("first", "second")
        for resource in ("pods", "managedmodels")
    }
    eventually("each goes on living, though nothing happens", lambda: min(alive().values()) > began)
