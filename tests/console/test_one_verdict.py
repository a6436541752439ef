"""What the console says of a replica is what the operator says of it, word for word, on one real Prometheus.

The samples are of pods that stand in for others; the API server is a stand-in too, since what counts is what becomes of
the figures.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from dormouse_console.app import create_app
from dormouse_console.callers import TokenCallers
from dormouse_console.plugin.cli import main
from dormouse_console.timeseries import TimeSeries
from dormouse_contract import metrics
from dormouse_contract.idleness import IdleSignal, SignalState, fresh_for_seconds
from dormouse_contract.metrics import Metric
from dormouse_operator.orders import Outcome
from dormouse_operator.reporting.summary import summarize
from dormouse_operator.view import Contact, ReplicaMemory, View, look
from dormouse_prometheus.api import PrometheusApi

from localcluster.ports import reserve_port
from localcluster.prometheus import Prometheus, Target
from localcluster.workspace import Workspace
from tests.exporting import exporter
from tests.operator.objects import fleet, read_idle_signal, seen_by
from tests.waiting import eventually

NAMESPACE = "speech"
FRESH_FOR = fresh_for_seconds(15, 10)
MIB = 1024.0**2
POLICY = {"offloadAfterSeconds": 600, "unloadAfterSeconds": 1200, "minResidentSeconds": 0}
STARTED = time.time()
IDLE_SINCE = STARTED - 3000


@dataclass(frozen=True)
class Situation:
    """What the jobs that scrape a pod see of it: `values` each of them, `second` another one besides.

    age: of the samples, in seconds. says: the state of the signal. dirty: the replica refused an unload.
    scraped: whether Prometheus reaches the pod at all.
    """

    says: SignalState
    words: str
    tiers: tuple[str, ...] = ("GPU",)
    values: tuple[tuple[Metric, float], ...] = ()
    second: tuple[tuple[Metric, float], ...] = ()
    age: float = 0
    dirty: bool = False
    scraped: bool = True

    def samples(self, pod: str, second: bool) -> list[str]:
        stamp = f" {(time.time() - self.age) * 1000:.0f}" if self.age else ""
        given = {metrics.IN_FLIGHT: 0.0, metrics.IDLE_SINCE: IDLE_SINCE, metrics.RELEASED: 0.0}
        given |= {metrics.GPU_MEMORY: 512 * MIB, metrics.LAST_TRANSITION: STARTED - 4000, metrics.TRANSITION_START: 0.0}
        given |= {metrics.UNLOAD_REFUSED: float(self.dirty), metrics.HOST_MEMORY: 7.0, **dict(self.values)}
        if not self.scraped or (second and not self.second):
            return []
        if second:
            given |= dict(self.second)
        labels = f'namespace="{NAMESPACE}",pod="{pod}",model="tts"'
        lines = [f"{metric.name}{{{labels}}} {value!r}{stamp}" for metric, value in given.items()]
        return lines + [
            f'{metrics.RESIDENCY.name}{{{labels},residency="{tier}"}} {int(tier in self.tiers)}{stamp}'
            for tier in {"GPU", "CPU", "Unloaded", *self.tiers}
        ]


SITUATIONS = {
    "fresh": Situation(SignalState.FRESH, "idle 3"),
    "four-minutes-old": Situation(SignalState.STALE, "is older than 40 s", age=240),
    "two-tiers": Situation(SignalState.INVALID, "residency is CPU and GPU at once", tiers=("GPU", "CPU")),
    "two-jobs": Situation(
        SignalState.INVALID, "idle_since is given more than once", second=((metrics.IDLE_SINCE, STARTED - 5),)
    ),
    "zero": Situation(
        SignalState.INVALID, "idle_since is 0 (in use) while nothing", values=((metrics.IDLE_SINCE, 0.0),)
    ),
    "merged-lora": Situation(SignalState.FRESH, "changed weights can't be unloaded", tiers=("CPU",), dirty=True),
    "no-number": Situation(SignalState.INVALID, "idle_since is nan", values=((metrics.IDLE_SINCE, float("nan")),)),
    "not-scraped": Situation(SignalState.MISSING, "is its port 9743 scraped?", scraped=False),
    "tier-of-tomorrow": Situation(SignalState.INVALID, "residency is Disk, which is not known here", tiers=("Disk",)),
    "in-use": Situation(SignalState.FRESH, "in flight 2", values=((metrics.IDLE_SINCE, 0.0), (metrics.IN_FLIGHT, 2.0))),
    "two-jobs-that-agree": Situation(SignalState.FRESH, "idle 3", second=((metrics.IDLE_SINCE, IDLE_SINCE),)),
    "a-number-and-none": Situation(
        SignalState.INVALID,
        "released_bytes is given more than once",
        second=((metrics.RELEASED, float("nan")),),
    ),
    "two-jobs-of-other-bytes": Situation(
        SignalState.INVALID, "gpu_memory_bytes is given more than once", second=((metrics.GPU_MEMORY, 1.0),)
    ),
    "endless": Situation(SignalState.INVALID, "in_flight is inf", values=((metrics.IN_FLIGHT, float("inf")),)),
    "below-zero": Situation(SignalState.INVALID, "last_transition is -1", values=((metrics.LAST_TRANSITION, -1.0),)),
    "ahead": Situation(SignalState.INVALID, "idle_since lies ahead", values=((metrics.IDLE_SINCE, STARTED + 1e6),)),
    "a-little-ahead": Situation(SignalState.FRESH, "idle ", values=((metrics.IDLE_SINCE, STARTED + 50),)),
}


def pod_of(name: str) -> str:
    return f"{name}-0"


def body_of(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "dormouse.dev/v1alpha1",
        "kind": "ManagedModel",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": f"uid-{name}", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": name}}, "model": "tts", "policy": POLICY},
    }


def pod_body_of(name: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": NAMESPACE, "name": pod_of(name), "uid": f"pod-{name}", "labels": {"app": name}},
        "spec": {"containers": [{"name": "dormouse-sidecar"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }


@dataclass(frozen=True)
class Stand:
    prometheus: Prometheus
    url: str

    def said_by_the_operator(self, name: str, now: float) -> View:
        async def read() -> IdleSignal:
            async with httpx.AsyncClient(trust_env=False) as http:
                return await read_idle_signal(PrometheusApi(http, self.prometheus.url), clock=time.time)

        made = fleet(body_of(name), pod_body_of(name))
        signal = asyncio.run(read())
        owner = next(iter(made.managed_models.values()))
        # An operator that ordered the unload was refused; one that did not has only the figure.
        refused = ReplicaMemory(Outcome.DIRTY, "changed", dirty_idle_since=IDLE_SINCE)
        memory = refused if SITUATIONS[name].dirty else ReplicaMemory()
        return seen_by(
            look(
                owner,
                made.claims(owner, lambda _: {"tts"}),
                signal,
                now,
                fresh_for_seconds=FRESH_FOR,
                contact_of=lambda _: Contact(Outcome.DONE, "", frozenset({"tts"})),
                memory_of=lambda *_: memory,
            )
        )

    def said_by_the_console(self, name: str) -> dict[str, Any]:
        answer = httpx.get(
            f"{self.url}/api/models/{NAMESPACE}/{name}/replicas",
            headers={"Authorization": "Bearer anna"},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert not found["problem"]
        return found

    def table(self, namespace: str | None = NAMESPACE) -> dict[str, Any]:
        """The console's fleet: since when each is idle, by name."""
        where = {} if namespace is None else {"namespace": namespace}
        anna = {"Authorization": "Bearer anna"}
        answer = httpx.get(f"{self.url}/api/fleet", params=where, headers=anna, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert not found["problem"]
        return found


def _exposed(second: bool) -> bytes:
    """As one of the two jobs sees it now."""
    lines = [line for name, each in SITUATIONS.items() for line in each.samples(pod_of(name), second)]
    if not second:
        lines.append(f"{metrics.IDLE_SIGNAL_FRESH_FOR.name} {FRESH_FOR}")
        for name in SITUATIONS:
            labels = f'namespace="{NAMESPACE}",name="{name}",pod="{pod_of(name)}",model="tts"'
            lines.append(f"{metrics.REPLICA_INFO.name}{{{labels}}} 1")
    return "".join(f"{line}\n" for line in lines).replace("nan", "NaN").encode()


def _api_server(request: httpx.Request) -> httpx.Response:
    parts = request.url.path.split("/")
    if parts[-1] == "selfsubjectaccessreviews":
        return httpx.Response(201, json={"status": {"allowed": True}})
    if parts[-1] == "pods":
        name = request.url.params["labelSelector"].removeprefix("app=")
        return httpx.Response(200, json={"items": [pod_body_of(name)]})
    if parts[-1] == "managedmodels":
        return httpx.Response(200, json={"items": [body_of(name) for name in SITUATIONS]})
    return httpx.Response(200, json=body_of(parts[-1]))


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    targets = [exporter(partial(_exposed, second)) for second in (False, True)]
    workspace = Workspace()
    prometheus = Prometheus(workspace.path / "prometheus", scrape_interval_seconds=0.5)
    for job, server in zip(("one", "another"), targets, strict=True):
        prometheus.set_targets(job, [Target(f"127.0.0.1:{server.server_port}")], honor_labels=True)
    kubernetes = httpx.AsyncClient(base_url="https://api", transport=httpx.MockTransport(_api_server))
    figures = TimeSeries(PrometheusApi(httpx.AsyncClient(trust_env=False), prometheus.url))
    port = reserve_port()
    app = create_app(TokenCallers(kubernetes), figures)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    try:
        with prometheus:
            thread.start()
            eventually("the console answers", lambda: server.started)
            # By both jobs.
            all_scraped = sum(each.scraped + bool(each.second) for each in SITUATIONS.values())
            prometheus.wait_for(
                f'count({metrics.RESIDENCY.name}{{residency="GPU"}})',
                lambda found: bool(found) and found[0].value == all_scraped,
            )
            yield Stand(prometheus, f"http://127.0.0.1:{port}")
            server.should_exit = True
            thread.join(timeout=10)
    finally:
        for target in targets:
            target.shutdown()
            target.server_close()
        workspace.remove()


@pytest.mark.parametrize("name", SITUATIONS)
def test_console_and_operator_say_the_same(stand: Stand, name: str) -> None:
    expected = SITUATIONS[name]
    page = stand.said_by_the_console(name)
    view = stand.said_by_the_operator(name, page["now"])
    (shown,), (replica,) = page["replicas"], view.replicas
    status = summarize(view, page["now"])
    signal = status.condition("IdleSignalAvailable")
    assert signal is not None
    assert shown["signal"] == signal.reason == expected.says
    assert expected.words in shown["decision"]
    assert without_ages(shown["decision"]) == without_ages(replica.decision.reason)
    assert shown["desired"] == replica.decision.desired
    assert (shown["residency"] or "Unknown") == status.residency
    if not expected.says.known:
        # The condition's words are those of the decision.
        assert shown["decision"].removeprefix("idle signal; waits: ") in signal.message
        assert shown["idleSince"] is None
        assert shown["gpuBytes"] is None


@pytest.mark.parametrize("namespace", [NAMESPACE, None], ids=["namespace", "all"])
@pytest.mark.parametrize("name", SITUATIONS)
def test_the_fleets_table_knows_what_the_operator_knows(stand: Stand, name: str, namespace: str | None) -> None:
    """Of all of the fleet Prometheus leaves out what may not be believed; of one model we do."""
    table = stand.table(namespace)
    observed = stand.said_by_the_operator(name, table["now"]).replicas[0].seen.observation
    shown = table["idle"].get(f"{NAMESPACE}/{name}")
    assert (shown is not None) == SITUATIONS[name].says.known
    if shown is not None:
        assert shown == pytest.approx(0.0 if observed.in_flight else observed.idle_since, abs=1)


@pytest.mark.parametrize("name", SITUATIONS)
def test_explain_says_it_too(
    stand: Stand, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = stand.said_by_the_operator(name, time.time())
    body = body_of(name) | {"status": summarize(view, time.time()).to_patch()}
    (tmp_path / "body.json").write_text(json.dumps(body))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\ncat {tmp_path}/body.json\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(kubectl))
    assert main(["explain", name, "-n", NAMESPACE, f"--prometheus-url={stand.prometheus.url}", "-o", "json"]) == 0
    replicas = json.loads(capsys.readouterr().out)["replicas"]
    if not SITUATIONS[name].scraped:
        # Whether the pod is there at all, the plugin does not know; the operator does.
        assert "the conditions say why" in replicas
        return
    (shown,) = replicas
    assert shown["signal"] == SITUATIONS[name].says
    assert without_seconds(shown["decision"]) == without_seconds(view.replicas[0].decision.reason)


def test_a_merged_lora_stays_in_host_ram_for_an_operator_that_has_just_started(stand: Stand) -> None:
    """It knows from the figure what its predecessor learned from a refusal."""
    page = stand.said_by_the_console("merged-lora")
    assert page["replicas"][0]["desired"] == "CPU"


def without_ages(reason: str) -> str:
    """How old the sample was differs by the moment between the two looks."""
    return "; ".join(part for part in reason.split("; ") if not part.startswith("signal "))


def without_seconds(reason: str) -> str:
    """For two looks of two moments."""
    return "".join(each for each in without_ages(reason) if not each.isdigit())
