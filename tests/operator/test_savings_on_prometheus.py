"""The ledger of a real model process on a real Prometheus against its own log of transitions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from dormouse_contract.promql.savings import queries
from dormouse_contract.savings.answers import read_ledger
from dormouse_contract.savings.ledger import Ledger
from dormouse_contract.wire import LastTransitionSnapshot, ModelSnapshot
from dormouse_operator.telemetry import Telemetry
from dormouse_prometheus.api import PrometheusApi, at_one_instant
from prometheus_client import CollectorRegistry, start_http_server

from localcluster.ports import reserve_port
from localcluster.process import Process
from localcluster.prometheus import Prometheus, Target
from localcluster.workspace import Workspace
from tests.waiting import eventually

from .objects import fleet, managed_model, pod, signal, view_of

REPOSITORY = Path(__file__).parents[2]
SCRAPE_SECONDS = 0.1
# `increase()` may be off by a scrape at each end of the range.
ASLEEP_SECONDS = 12.0


@dataclass
class Server:
    """A standalone model server; `log` is what its snapshots told of each transition."""

    process: Process
    http: httpx.Client
    log: list[LastTransitionSnapshot]

    def snapshot(self) -> ModelSnapshot:
        return ModelSnapshot.model_validate(self.http.get("/dormouse/v1/models/tts").raise_for_status().json())

    def use(self) -> None:
        """A request, which wakes it."""
        self.http.get("/ask/1").raise_for_status()
        self._until("GPU")

    def sleep(self) -> None:
        """Its own idle timeout sends it to host RAM, where it stays for a while."""
        self._until("CPU")
        until = time.time() + ASLEEP_SECONDS
        eventually("time passes", lambda: time.time() >= until)

    def _until(self, residency: str) -> None:
        def there() -> ModelSnapshot | None:
            seen = self.snapshot()
            return seen if seen.residency == residency and seen.transition is None else None

        self.log.append(eventually(f"it is on {residency}", there).last_transition)

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def watched() -> Iterator[tuple[Server, Prometheus]]:
    workspace = Workspace()
    port, registry = reserve_port(), CollectorRegistry()
    Telemetry(registry).fleet(tuple, lambda: [view_of(fleet(managed_model("tts"), pod()), signal())])
    operator, thread = start_http_server(0, "127.0.0.1", registry)
    process = Process(
        "server",
        [
            *(sys.executable, "-m", "dormouse_modelserver.cli", "serve", "--app=tests.loop.tiny_app:create_app"),
            *(f"--port={port}", "--device=sim:64MiB", "--idle-timeout=2"),
        ],
        directory=REPOSITORY,
        log=workspace.path / "server.log",
        environment={"TINY_MODEL": "tts", "PROJECT_DIR": str(workspace.path)},
    )
    try:
        with (
            Prometheus(workspace.path / "prometheus", scrape_interval_seconds=SCRAPE_SECONDS) as prometheus,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
            process,
        ):
            prometheus.set_targets("pods", [Target(f"127.0.0.1:{port}", {"namespace": "speech", "pod": "tts-0"})])
            prometheus.set_targets("operator", [Target(f"127.0.0.1:{operator.server_address[1]}")], honor_labels=True)
            server = Server(process, http, [])
            process.wait_until(server.is_ready, deadline_seconds=120, what="ready")
            prometheus.wait_for('dormouse_model_residency{pod="tts-0"}')
            prometheus.wait_for("dormouse_operator_replica_info")
            yield server, prometheus
    finally:
        operator.shutdown()
        operator.server_close()
        thread.join()
        workspace.remove()


def integrated(log: list[LastTransitionSnapshot], until: float) -> float:
    """Byte-seconds by the log alone: what a transition released, until the next one."""
    ends = [*(moved.time for moved in log[1:]), until]
    return sum(moved.released_bytes * (end - moved.time) for moved, end in zip(log, ends, strict=True))


async def read(prometheus: Prometheus, since: float) -> Ledger:
    until = time.time()
    async with httpx.AsyncClient(trust_env=False) as http:
        api = PrometheusApi(http, prometheus.url)
        answers = await at_one_instant(api, queries(max(1, round(until - since)), None), until)
    samples = {name: vector.samples for name, vector in answers.items()}
    return read_ledger(samples, since=since, until=until, scrape_interval_seconds=SCRAPE_SECONDS)


async def test_the_sum_is_that_of_the_transition_log_within_one_percent_over_a_restart(
    watched: tuple[Server, Prometheus],
) -> None:
    server, prometheus = watched
    # A range sees what happens between two of its own samples, so it begins a little before.
    began = time.time() - 10 * SCRAPE_SECONDS
    server.use()
    server.sleep()
    server.use()
    prometheus.wait_for('dormouse_model_residency{pod="tts-0",residency="GPU"} == 1')
    first_life, server.log = server.log, []
    server.process.stop()
    server.process.start()
    server.process.wait_until(server.is_ready, deadline_seconds=120, what="ready")
    prometheus.wait_for('dormouse_gpu_memory_released_byte_seconds_total{pod="tts-0"} == 0')
    server.use()
    server.sleep()
    server.use()
    prometheus.wait_for('dormouse_model_residency{pod="tts-0",residency="GPU"} == 1')

    expected = integrated(first_life, first_life[-1].time) + integrated(server.log, server.log[-1].time)
    book = await read(prometheus, began)
    assert expected > 0
    (line,) = book.models
    assert line.figures.released_byte_seconds == pytest.approx(expected, rel=0.01)
    assert (line.namespace, line.name, line.simulated) == ("speech", "tts", True)
    assert (book.fleet.simulated, book.fleet.figures) == (True, line.figures)
    assert round(line.figures.transitions) == len(first_life) + len(server.log)
    assert line.figures.cpu_seconds == pytest.approx(2 * ASLEEP_SECONDS, rel=0.15)
    assert round(line.figures.waits) == 4
    assert line.figures.waited_seconds > 0


def test_the_command_prints_what_prometheus_has(watched: tuple[Server, Prometheus]) -> None:
    server, prometheus = watched
    server.use()
    prometheus.wait_for("dormouse_gpu_memory_released_byte_seconds_total > 0")
    # An owner is looked for at every thousandth of the range.
    prometheus.wait_for("dormouse_operator_replica_info offset 4s")
    command = [sys.executable, "-m", "dormouse_operator.cli", "savings", f"--prometheus-url={prometheus.url}"]
    table = subprocess.run([*command, "--since=1h"], check=True, capture_output=True, text=True).stdout
    assert "tts [sim]" in table
    told = json.loads(
        subprocess.run([*command, "--since=1h", "-o", "json"], check=True, capture_output=True, text=True).stdout
    )
    assert told["fleet"]["releasedByteSeconds"] > 0
    empty = subprocess.run([*command, "--namespace=none"], check=True, capture_output=True, text=True).stdout
    assert "no figures of replicas in namespace none" in empty
