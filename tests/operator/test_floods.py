"""160,000 series of our names from one pod, on the real Prometheus and API server: nobody else loses the signal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from dormouse_contract import metrics

from localcluster.controlplane import ControlPlane
from localcluster.pods import register_pod
from localcluster.prometheus import Prometheus, Target
from localcluster.workspace import Workspace
from tests.exporting import exporter
from tests.waiting import eventually

from .fake_pod import FakeModel
from .world import SIDECAR, OperatorProcess, World, always

SERIES = 160_000
# The whole text each second would be the machine's only work.
FLOOD_SECONDS = 5


class Floods:
    """Targets with very many series, scraped by a slower job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[ThreadingHTTPServer] = []

    def add(self, namespace: str, pod: str, metric: str, series: int = SERIES) -> None:
        body = "".join(f'{metric}{{model="m{n}",residency="GPU"}} 1\n' for n in range(series)).encode()

        server = exporter(lambda: body)
        self._servers.append(server)
        target = {"targets": [f"127.0.0.1:{server.server_port}"], "labels": {"namespace": namespace, "pod": pod}}
        (self._folder / f"{namespace}-{pod}.json").write_text(json.dumps([target]))

    def clear(self) -> None:
        for file in self._folder.glob("*.json"):
            file.write_text("[]")
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def prometheus(workspace: Workspace) -> Iterator[Prometheus]:
    folder = workspace.path / "floods"
    folder.mkdir()
    job = {
        "job_name": "floods",
        "scrape_interval": f"{FLOOD_SECONDS}s",
        "scrape_timeout": f"{FLOOD_SECONDS}s",
        "file_sd_configs": [{"files": [f"{folder}/*.json"], "refresh_interval": "1s"}],
    }
    with Prometheus(workspace.path / "own", config={"scrape_configs": [job]}) as running:
        yield running


@pytest.fixture
def floods(workspace: Workspace) -> Iterator[Floods]:
    made = Floods(workspace.path / "floods")
    try:
        yield made
    finally:
        made.clear()


def flooded(prometheus: Prometheus, namespace: str, metric: str = metrics.RESIDENCY.name) -> None:
    """Until Prometheus has it all."""
    query = f'count({metric}{{namespace="{namespace}",job="floods"}})'
    prometheus.wait_for(query, lambda found: bool(found) and found[0].value == SERIES, deadline_seconds=60)


def too_large(world: World) -> set[str]:
    """The namespaces that the operator's metric names."""
    text = httpx.get(f"http://127.0.0.1:{world.operator.metrics_port}/metrics", timeout=5, trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith(f"{metrics.IDLE_SIGNAL_TOO_LARGE.name}{{")]
    return {line.split('"')[1] for line in lines if line.endswith(" 1.0")}


def looks(world: World) -> int:
    text = httpx.get(f"http://127.0.0.1:{world.operator.metrics_port}/metrics", timeout=5, trust_env=False).text
    line = next(
        line for line in text.splitlines() if line.startswith(f'{metrics.PROMETHEUS_QUERIES.name}{{outcome="ok')
    )
    return int(float(line.split()[-1]))


def an_honest_model(world: World) -> FakeModel:
    model = FakeModel()
    world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", model="tts", policy={"offloadAfterSeconds": 3600})
    world.operator.start()
    world.trust()
    world.wait_for("tts", "IdleSignalAvailable", "True", "IdleSignalFresh")
    return model


def its_signal_stays_known(world: World) -> None:
    """Over several looks, and what becomes idle is ordered off the GPU."""
    before = looks(world)
    always(
        "its signal stays known",
        lambda: world.condition("tts", "IdleSignalAvailable") == ("True", "IdleSignalFresh"),
        for_seconds=4,
    )
    eventually("the operator goes on looking", lambda: looks(world) >= before + 2)
    pod = world.pods["tts-0"]
    pod.models["tts"].idle_since = time.time() - 7200
    eventually("it is ordered off the GPU", lambda: pod.orders)
    assert pod.orders[0].body["desired"] == "CPU"


def test_a_flood_of_a_namespace_without_managed_models_is_not_even_read(world: World, floods: Floods) -> None:
    an_honest_model(world)
    floods.add("elsewhere", "stranger", metrics.RESIDENCY.name)
    flooded(world.prometheus, "elsewhere")
    its_signal_stays_known(world)
    assert too_large(world) == set()


@pytest.mark.parametrize("metric", [metrics.RESIDENCY.name, metrics.IDLE_SINCE.name])
def test_a_stranger_that_floods_the_same_namespace_takes_no_models_signal(
    world: World, floods: Floods, metric: str
) -> None:
    an_honest_model(world)
    floods.add(world.namespace, "stranger", metric)
    flooded(world.prometheus, world.namespace, metric)
    eventually("the namespace is named", lambda: too_large(world) == {world.namespace})
    its_signal_stays_known(world)
    assert world.operator.log.count("More series of the idle signal") == 1


def test_a_replica_that_floods_is_unknown_with_a_condition_and_its_neighbours_are_known(
    world: World, floods: Floods
) -> None:
    an_honest_model(world)
    world.add_pod("flood-0", {"tts": FakeModel()}, app="flood").trust(world.certificate())
    world.apply("flood", model="tts", policy={"offloadAfterSeconds": 3600})
    world.wait_for("flood", "IdleSignalAvailable", "True", "IdleSignalFresh")
    floods.add(world.namespace, "flood-0", metrics.RESIDENCY.name)
    flooded(world.prometheus, world.namespace)
    world.wait_for("flood", "IdleSignalAvailable", "False", "IdleSignalTooLarge", deadline_seconds=90)
    (message,) = (
        each["message"] for each in world.status("flood")["conditions"] if each["type"] == "IdleSignalAvailable"
    )
    assert f"pod flood-0 of namespace {world.namespace}" in message
    assert "sample_limit" in message
    its_signal_stays_known(world)
    assert too_large(world) == {world.namespace}


def test_a_managed_flood_of_another_namespace_harms_nobody(
    world: World, control_plane: ControlPlane, floods: Floods
) -> None:
    other = f"{world.namespace}-other"
    control_plane.kubectl("create", "namespace", other)
    an_honest_model(world)
    register_pod(control_plane, namespace=other, name="flood-0", ip="127.9.9.9", labels={"app": "flood"}, spec=SIDECAR)
    body = {
        "apiVersion": "dormouse.dev/v1alpha1",
        "kind": "ManagedModel",
        "metadata": {"name": "flood"},
        "spec": {"selector": {"matchLabels": {"app": "flood"}}, "model": "m1"},
    }
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(body), namespace=other)
    floods.add(other, "flood-0", metrics.RESIDENCY.name)
    flooded(world.prometheus, other)
    try:
        eventually("the namespace is named", lambda: too_large(world) == {other})
        its_signal_stays_known(world)
    finally:
        control_plane.kubectl("delete", "namespace", other, "--wait=false")


@pytest.mark.parametrize("selected", [False, True], ids=["all jobs", "our job"])
def test_series_forged_in_a_replicas_name_make_it_unknown_or_with_a_selector_nothing(
    control_plane: ControlPlane,
    namespace: str,
    prometheus: Prometheus,
    kubeconfig: Path,
    tmp_path: Path,
    selected: bool,
) -> None:
    """A tenant's own monitor with honorLabels says of a model in use that it is idle for long."""
    flags = [f'--prometheus-selector=job="{namespace}"'] if selected else []
    operator = OperatorProcess(kubeconfig, prometheus.url, tmp_path / "operator.log", flags=flags)
    world = World(control_plane, namespace, prometheus, operator)
    forger = _Forger(namespace, "tts-0")
    try:
        model = an_honest_model(world)
        model.in_flight = 1
        prometheus.set_targets("forged", [Target(forger.address)], honor_labels=True)
        prometheus.wait_for(f'{metrics.RESIDENCY.name}{{job="forged",namespace="{namespace}"}}')
        if selected:
            always(
                "it is known",
                lambda: world.condition("tts", "IdleSignalAvailable") == ("True", "IdleSignalFresh"),
                for_seconds=4,
            )
        else:
            world.wait_for("tts", "IdleSignalAvailable", "False", "IdleSignalInvalid")
        assert not world.pods["tts-0"].orders
    finally:
        prometheus.set_targets("forged", [], honor_labels=True)
        world.close()
        forger.close()


class _Forger:
    """Exports, with labels of its own, the series of somebody else's replica."""

    def __init__(self, namespace: str, pod: str) -> None:
        labels = f'namespace="{namespace}",pod="{pod}",model="tts"'
        body = (
            f'{metrics.RESIDENCY.name}{{{labels},residency="GPU"}} 1\n'
            f"{metrics.IN_FLIGHT.name}{{{labels}}} 0\n"
            f"{metrics.IDLE_SINCE.name}{{{labels}}} 1000\n"
        ).encode()

        self._server = exporter(lambda: body)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
