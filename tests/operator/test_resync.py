"""What was deleted while nobody watched is forgotten: on the real API server, and judged by its lists alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dormouse_operator.cluster.census import Census
from dormouse_operator.cluster.collection import Collection, collections
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.cluster.mirror import Mirror
from dormouse_operator.cluster.resync import Resync
from dormouse_operator.cluster.scope import Scope
from dormouse_operator.errors import KubeError

from localcluster.controlplane import ControlPlane
from localcluster.crd import apply_crd
from localcluster.pods import register_pod
from localcluster.workspace import Workspace
from tests.waiting import auntil, eventually

from .objects import fleet, managed_model, pod
from .world import OperatorProcess, operator_kubeconfig

PATH = "/apis/dormouse.dev/v1alpha1/managedmodels"


class Listed(Census):
    """A census whose lists are given: by kind, or by kind and namespace."""

    def __init__(self, **uids: set[str]) -> None:
        self.given = uids
        self.lists = 0

    async def count(self, collection: Collection) -> int:
        return len(self.given[collection.plural])

    async def uids(self, collection: Collection) -> set[str]:
        self.lists += 1
        return self.given[collection.plural]


def mirrors(made: Fleet) -> list[Mirror]:
    return [Mirror(made, collection) for collection in collections(Scope())]


async def prune(made: Fleet, census: Census) -> None:
    known = mirrors(made)
    for mirror in known:
        await Resync(known, census).prune(mirror)


async def test_what_is_in_no_list_is_forgotten_and_the_rest_stays() -> None:
    made = fleet(managed_model("tts"), managed_model("asr"), pod("a"), pod("b"))
    made.take_touched()
    await prune(made, Listed(managedmodels={"uid-tts"}, pods={"uid-a"}))
    assert list(made.managed_models) == [("speech", "tts")]
    assert list(made.pods) == [("speech", "a")]
    assert made.take_touched() == {("speech", "asr"), ("speech", "tts")}, "whoever had the pod is looked at again"


async def test_as_long_as_the_numbers_agree_nothing_is_listed() -> None:
    made = fleet(managed_model(), pod("a"))
    census = Listed(managedmodels={"uid-tts"}, pods={"uid-a"})
    await prune(made, census)
    assert census.lists == 0


async def test_what_appears_while_the_list_is_read_is_not_taken_for_gone() -> None:
    made = fleet(managed_model("tts"), managed_model("gone"))

    class Slow(Listed):
        async def uids(self, collection: Collection) -> set[str]:
            made.observe_managed_model(managed_model("new"))
            again = managed_model("gone")
            again["metadata"]["uid"] = "uid-created-again"
            made.observe_managed_model(again)
            return await super().uids(collection)

    await prune(made, Slow(managedmodels={"uid-tts"}, pods=set()))
    assert {each.uid for each in made.managed_models.values()} == {"uid-tts", "uid-new", "uid-created-again"}


async def test_a_namespace_that_refuses_or_hangs_keeps_nothing_from_being_forgotten_elsewhere() -> None:
    def of(namespace: str) -> dict[str, Any]:
        body = pod("gone")
        body["metadata"] |= {"namespace": namespace, "uid": f"uid-{namespace}"}
        return body

    class Partly(Listed):
        async def count(self, collection: Collection) -> int:
            if collection.namespace == "refuses":
                raise KubeError("pods is forbidden", 403)
            if collection.namespace == "hangs":
                await asyncio.Event().wait()
            return 0

    made = fleet(of("refuses"), of("hangs"), of("fine"))
    scope = Scope(("refuses", "hangs", "fine"))
    all_of_them = [Mirror(made, collection) for collection in collections(scope)]
    resync = Resync(all_of_them, Partly(pods=set(), managedmodels=set()), interval_seconds=0.01)
    running = asyncio.create_task(resync.run())
    try:
        await auntil(lambda: {namespace for namespace, _ in made.pods} == {"refuses", "hangs"})
    finally:
        running.cancel()


@pytest.fixture
def own_control_plane() -> Iterator[ControlPlane]:
    workspace = Workspace()
    try:
        with ControlPlane(workspace.path, api_server_flags=["--etcd-compaction-interval=1s"]) as running:
            apply_crd(running)
            yield running
    finally:
        workspace.remove()


def watch_is_refused(control_plane: ControlPlane, since: str) -> bool:
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=1"
    answer = httpx.get(f"{control_plane.url}{PATH}?{query}", verify=control_plane.api.tls, trust_env=False, timeout=10)
    return '"code":410' in answer.text


def test_what_is_deleted_while_the_watch_is_cut_off_is_forgotten(
    own_control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The API server starts anew meanwhile, and its history is compacted: it answers 410 Gone."""
    api = own_control_plane.api
    kubeconfig = operator_kubeconfig(own_control_plane)
    api.create_namespace("speech")
    for name in ("stays", "goes"):
        register_pod(own_control_plane, namespace="speech", name=f"{name}-0", ip="127.0.0.9", labels={"app": name})
        body = {"apiVersion": "dormouse.dev/v1alpha1", "kind": "ManagedModel", "metadata": {"name": name}}
        body["spec"] = {"selector": {"matchLabels": {"app": name}}}
        own_control_plane.kubectl("apply", "-f", "-", input=json.dumps(body), namespace="speech")
    operator = OperatorProcess(kubeconfig, "http://127.0.0.1:9", tmp_path / "operator.log")
    operator.start()

    def managed() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{operator.metrics_port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return -1
        return sum(
            int(float(line.split()[1])) for line in lines if line.startswith("dormouse_operator_managed_models{")
        )

    try:
        eventually("it manages both", lambda: managed() == 2)
        # Without its connections first, or it would find the events in their buffers.
        own_control_plane.stop_api_server()
        os.kill(operator.pid, signal.SIGSTOP)
        own_control_plane.start_api_server()
        api.wait_for_crd("managedmodels.dormouse.dev")
        since = api.request("GET", PATH)["metadata"]["resourceVersion"]
        api.request("DELETE", "/apis/dormouse.dev/v1alpha1/namespaces/speech/managedmodels/goes")
        api.request("DELETE", "/api/v1/namespaces/speech/pods/goes-0", {"gracePeriodSeconds": 0})
        own_control_plane.stop_api_server()
        own_control_plane.start_api_server()
        eventually("the history is gone", lambda: watch_is_refused(own_control_plane, since))
        os.kill(operator.pid, signal.SIGCONT)
        eventually("it manages what is left", lambda: managed() == 1, deadline_seconds=90)
        eventually(
            "and says so",
            lambda: "1 managedmodels were deleted unseen" in operator.log and "1 pods were" in operator.log,
        )
    finally:
        os.kill(operator.pid, signal.SIGCONT)
        operator.kill()
