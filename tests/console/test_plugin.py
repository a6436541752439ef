"""`kubectl dormouse` as a person types it, with the real kubectl, on the real API server and Prometheus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from dormouse_console.plugin.cli import main
from dormouse_console.plugin.kubectl import Kubectl
from dormouse_console.plugin.through_service import URL, ThroughService
from dormouse_console.timeseries import TimeSeries
from dormouse_contract import Residency
from dormouse_prometheus.api import PrometheusApi

from examples.demo.stage import REPOSITORY
from localcluster.kubeconfig import write_kubeconfig
from tests.waiting import eventually

from .conftest import MODEL, NAMESPACE, World
from .people import Person


class Terminal:
    """A kubeconfig of one person, with a namespace, and a PATH on which kubectl finds the plugin."""

    def __init__(self, world: World, person: Person, folder: Path) -> None:
        plane = world.stage.cluster.control_plane
        kubeconfig = write_kubeconfig(
            folder / "config",
            server=plane.url,
            ca=plane.directory / "pki" / "ca.crt",
            user=person.name,
            credentials=person.token,
            namespace=NAMESPACE,
        )
        program = folder / "kubectl-dormouse"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dormouse_console.plugin.cli "$@"\n')
        program.chmod(0o755)
        self._kubectl = str(plane.kubectl_path)
        self._environment = {
            "PATH": f"{folder}:{Path(self._kubectl).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "KUBECTL": self._kubectl,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TZ": "UTC",
        }

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._kubectl, "dormouse", *arguments],
            env=self._environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def reads(self, *arguments: str) -> str:
        answer = self.types(*arguments)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


@pytest.fixture(scope="module")
def anna(world: World, permitted: Person, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    return Terminal(world, permitted, tmp_path_factory.mktemp("anna"))


@pytest.fixture(scope="module")
def ravi(world: World, reader: Person, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    return Terminal(world, reader, tmp_path_factory.mktemp("ravi"))


def test_it_puts_to_sleep_and_wakes_as_its_user(world: World, anna: Terminal) -> None:
    world.reset()
    assert "host RAM" in anna.reads("sleep", MODEL)
    eventually("it is in host RAM", lambda: world.residency() is Residency.CPU)
    anna.reads("sleep", MODEL, "--unload")
    eventually("it is unloaded", lambda: world.residency() is Residency.UNLOADED)
    anna.reads("wake", MODEL)
    eventually("it is awake", lambda: world.residency() is Residency.GPU)
    anna.reads("pin", MODEL, "--until", "2h")
    assert world.spec()["residency"] == "GPU"
    anna.reads("auto", MODEL)
    assert world.spec()["residency"] == "Auto"
    anna.reads("pause", MODEL)
    assert "Paused" in anna.reads("wake", MODEL)
    anna.reads("resume", MODEL)
    assert world.spec()["mode"] == "Active"
    world.reset()


def test_top_lists_ones_own_namespace(world: World, ravi: Terminal) -> None:
    lines = ravi.reads("top").splitlines()
    assert lines[0].split()[:2] == ["NAME", "RESIDENCY"]
    assert [line.split()[0] for line in lines[1:]] == [MODEL]


def test_what_rbac_forbids_is_told_in_its_own_words(world: World, ravi: Terminal) -> None:
    before = world.spec()
    for command in (["wake", MODEL], ["sleep", MODEL], ["pin", MODEL, "--until", "2h"], ["pause", MODEL]):
        refused = ravi.types(*command)
        assert refused.returncode == 1
        assert "cannot patch resource" in refused.stderr
    assert "cannot list resource" in ravi.types("top", "-A").stderr
    assert world.spec() == before


def test_explain_says_why_and_what_comes_next(world: World, ravi: Terminal) -> None:
    said = ravi.reads("explain", MODEL, f"--prometheus-url={world.stage.cluster.prometheus.url}")
    assert f"{NAMESPACE}/{MODEL}" in said
    assert "Ready=" in said
    assert f"{MODEL}-0 {MODEL}:" in said
    without = ravi.reads("explain", MODEL)
    assert "--prometheus-url" in without


def test_savings_are_those_of_the_ledger(world: World, ravi: Terminal) -> None:
    flags = (f"--prometheus-url={world.stage.cluster.prometheus.url}", "--since=1h", "--scrape-interval=1")
    book = json.loads(ravi.reads("savings", *flags, "-o", "json"))
    assert MODEL in {line["name"] for line in book["models"]}
    assert "RELEASED" in ravi.reads("savings", *flags)
    assert "--prometheus-service" in ravi.types("savings").stderr


class OnlyRaw(Kubectl):
    """Stands in for the API server's service proxy, which reaches no address of loopback."""

    def __init__(self, url: str) -> None:
        super().__init__("kubectl", [])
        self._url = url
        self.paths: list[str] = []

    def raw(self, path: str) -> str:
        self.paths.append(path)
        return httpx.get(self._url + path.partition("/proxy")[2], trust_env=False).text


async def test_prometheus_is_reached_through_the_service_that_is_named(world: World) -> None:
    kubectl = OnlyRaw(world.stage.cluster.prometheus.url)
    transport = ThroughService(kubectl, "monitoring/prometheus-operated:9090")
    async with httpx.AsyncClient(base_url=f"{URL}/", transport=transport) as http:
        found = await TimeSeries(PrometheusApi(http, URL)).instant('up{job="replicas"} == 1', time.time())
    assert [series.points[0][1] for series in found] == [1.0]
    proxy = "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1/query?"
    assert kubectl.paths[0].startswith(proxy)


def test_a_service_that_can_not_be_reached_is_told_and_one_that_is_none_as_well(anna: Terminal) -> None:
    refused = anna.types("savings", "--prometheus-service=monitoring/prometheus:9090")
    assert refused.returncode == 1
    assert "Prometheus can't be reached" in refused.stderr
    assert "NAMESPACE/NAME:PORT" in anna.types("savings", "--prometheus-service=prometheus:9090").stderr


def test_each_command_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("top", "wake", "sleep", "pin", "auto", "pause", "resume", "explain", "savings"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert "examples:" in capsys.readouterr().out
