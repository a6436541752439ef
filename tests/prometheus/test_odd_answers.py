"""Whatever answers as Prometheus: the page goes on and says why, nothing is demoted, and the command ends in words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from dormouse_console.app import create_app
from dormouse_console.callers import TokenCallers
from dormouse_console.plugin.cli import main as kubectl_dormouse
from dormouse_console.timeseries import NoFigures, TimeSeries
from dormouse_contract import Action, Policy, plan
from dormouse_operator.cli import main as dormouse_operator
from dormouse_prometheus.answers import Series, Vector
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.errors import PrometheusThrottled
from dormouse_prometheus.settings import PrometheusSettings

from tests.operator.objects import read_idle_signal

from .odd_server import NOW, ODD, Odd, answering

MODEL: dict[str, Any] = {
    "metadata": {"namespace": "speech", "name": "tts", "uid": "1", "generation": 1},
    "spec": {"selector": {"matchLabels": {"app": "tts"}}, "policy": {"offloadAfterSeconds": 600}},
}
POLICY = Policy(offload_after_seconds=600, unload_after_seconds=7200)
POD = {"metadata": {"name": "tts-0", "namespace": "speech"}}
PAGES = (
    "/api/fleet",
    "/api/savings?range=1h",
    "/api/savings?range=7d&namespace=speech",
    "/api/models/speech/tts/replicas",
)
each_oddity = pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)


@pytest.fixture
def url(odd: Odd) -> Iterator[str]:
    with answering(odd) as url:
        yield url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[PrometheusConnection]:
    connection = PrometheusConnection(PrometheusSettings(url))
    try:
        yield connection
    finally:
        await connection.close()


def api_server(request: httpx.Request) -> httpx.Response:
    """One ManagedModel with one pod, for somebody who may see everything."""
    path = request.url.path
    if path.endswith("selfsubjectaccessreviews"):
        return httpx.Response(201, json={"status": {"allowed": True}})
    if path.endswith("/managedmodels/tts"):
        return httpx.Response(200, json=MODEL)
    return httpx.Response(200, json={"items": [MODEL if path.endswith("managedmodels") else POD]})


def strictly(text: str) -> Any:
    """As a browser reads JSON: NaN and Infinity are none."""

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refused)


@asynccontextmanager
async def console(prometheus: PrometheusConnection) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api_server), base_url="https://api") as cluster:
        app = create_app(TokenCallers(cluster), TimeSeries(prometheus))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": "Bearer me"}
        async with httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers) as http:
            yield http


@each_oddity
async def test_each_page_of_the_console_goes_on_and_says_why_figures_lack(odd: Odd, url: str) -> None:
    async with connected(url) as prometheus, console(prometheus) as http:
        for page in PAGES:
            answer = await http.get(page)
            assert answer.status_code == 200, (page, answer.text)
            problem = strictly(answer.text)["problem"]
            assert isinstance(problem, str)
            assert odd.shows or problem, page


@each_oddity
async def test_nothing_odd_lets_the_operator_demote_a_replica(odd: Odd, url: str) -> None:
    async with connected(url) as prometheus:
        signal = await read_idle_signal(prometheus, clock=lambda: NOW)
    decision = plan(POLICY, signal.see(("speech", "tts-0", "tts"), 30).observation, NOW)
    assert decision.action is Action.HOLD
    assert odd.shows or signal.failure


@each_oddity
@pytest.mark.parametrize("command", [dormouse_operator, kubectl_dormouse], ids=["operator", "kubectl"])
def test_the_savings_end_in_figures_or_in_a_sentence(
    command: Any, odd: Odd, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = command(["savings", f"--prometheus-url={url}", "-o", "json"])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    if status == 0:
        assert odd.shows
        assert strictly(printed.out)["fleet"]["releasedByteSeconds"] >= 0
    else:
        assert not odd.shows
        assert "Prometheus" in printed.err


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that knows a single ManagedModel."""
    folder = tmp_path_factory.mktemp("kubectl")
    (folder / "model.json").write_text(json.dumps(MODEL))
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\nexec cat {folder / 'model.json'}\n")
    program.chmod(0o755)
    return str(program)


@each_oddity
def test_explain_says_what_it_knows_without_figures(
    odd: Odd, url: str, kubectl: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL", kubectl)
    assert kubectl_dormouse(["explain", "tts", "-n", "speech", f"--prometheus-url={url}", "-o", "json"]) == 0
    told = strictly(capsys.readouterr().out)
    assert told["managedModel"] == MODEL
    assert odd.shows or isinstance(told["replicas"], str)


class Busy:
    """A Prometheus that asks for a rest of a minute."""

    def __init__(self) -> None:
        self.asked = 0

    async def query(self, promql: str, at: float | None = None, *, max_bytes: int | None = None) -> Vector:
        self.asked += 1
        raise PrometheusThrottled("Prometheus asks us to come later", 60)

    async def query_range(self, promql: str, start: float, end: float, step: int) -> tuple[Series, ...]:
        raise AssertionError("it was asked though it wanted a rest")


async def test_a_prometheus_that_asks_for_a_rest_gets_it_from_every_page() -> None:
    clock, busy = [0.0], Busy()
    figures = TimeSeries(busy, monotonic=lambda: clock[0])
    for clock[0], asked in ((0.0, 1), (1.0, 1), (59.0, 1), (61.0, 2)):
        with pytest.raises(NoFigures, match="come later"):
            await figures.instant("up", NOW)
        assert busy.asked == asked
    with pytest.raises(NoFigures, match="come later"):
        await figures.over_time("up", NOW - 60, NOW, 15)
