"""`make demo`: the whole loop on real parts, with two model servers on one shared device.

Real are the API server, etcd, Prometheus, the operator, the sidecars with mutual TLS, torch and the weights
of all-MiniLM-L6-v2. Simulated is the device, unless DORMOUSE_DEVICE names a real one. DEMO_SECONDS ends it
by itself; without it, it stays until Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live

from dashboards.files import write as write_dashboards
from examples.demo.board import board
from examples.demo.history import Historian, Transition
from examples.demo.stage import REPOSITORY, Replica, Stage
from examples.demo.traffic import Answers, Client

NAMESPACE = "demo"
MANIFESTS = REPOSITORY / "examples" / "managedmodels" / "demo.yaml"
RULES = REPOSITORY / "charts" / "dormouse" / "files" / "rules"
SUMMARY = REPOSITORY / "build" / "demo" / "summary.json"
DASHBOARDS = REPOSITORY / "build" / "demo" / "dashboards"
SAVED = "dormouse_gpu_memory_released_byte_seconds_total"
# Server, and the pauses of its client in seconds: past the offload, then past the unload (see the manifest).
SERVERS: dict[str, tuple[float, ...]] = {"search": (10.0, 20.0), "archive": (13.0, 28.0)}
POLICIES = {"search": "6 s → CPU, 14 s → disk", "archive": "9 s → CPU, 22 s → disk"}


def main() -> int:
    console = Console(highlight=False)
    seconds = _demo_seconds()
    stop = threading.Event()
    # While it starts, Ctrl-C breaks off at once; `_play` ends in order instead.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console.print("Starting etcd, kube-apiserver and Prometheus …")
    with Stage(device=os.environ.get("DORMOUSE_DEVICE") or None, rule_files=sorted(RULES.glob("*.yaml"))) as stage:
        stage.add_namespace(NAMESPACE)
        console.print(
            "Starting two model servers (torch, all-MiniLM-L6-v2), their sidecars and the operator …", soft_wrap=True
        )
        replicas = [stage.add_replica(name, NAMESPACE) for name in SERVERS]
        stage.start_operator()
        console.print(stage.cluster.kubectl("apply", "-f", str(MANIFESTS)).strip())
        stage.wait_until_ready()
        console_url = stage.start_console()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
        _say_where_to_look(console, stage, replicas, console_url)
        summary = _play(console, stage, replicas, seconds, stop)
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n")
    requests = summary["requests"]
    console.print(f"{requests['ok']} requests ok, {requests['failed']} failed; wrote {SUMMARY.relative_to(REPOSITORY)}")
    return 1 if requests["failed"] else 0


def _play(
    console: Console, stage: Stage, replicas: list[Replica], seconds: float | None, stop: threading.Event
) -> dict[str, Any]:
    """Traffic and the table until the time is up; the summary."""
    answers = Answers()
    device = f"{stage.device.split('@')[0]} (simulated)" if stage.device.startswith("sim") else stage.device
    # On a terminal rich prints above the table; elsewhere there are lines only.
    live = Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None

    started = time.monotonic()

    def tell(transition: Transition) -> None:
        console.print(f"{time.monotonic() - started:5.1f} s  {transition.line()}", soft_wrap=True)

    historian = Historian(replicas, tell)
    clients = [Client(r.name, r.url, SERVERS[r.name], answers) for r in replicas]
    historian.start()
    for client in clients:
        client.start()
    with httpx.Client(timeout=5, trust_env=False) as http:
        if live is not None:
            live.start()
        try:
            while not stop.wait(0.5) and (seconds is None or time.monotonic() - started < seconds):
                if live is not None:
                    live.update(board(historian.snapshots, POLICIES, answers, _saved(http, replicas), device))
        finally:
            if live is not None:
                live.stop()
        for client in clients:
            client.stop()
        historian.stop()
        saved = _saved(http, replicas)
    for problem in answers.problems[:10]:
        console.print(f"failed request: {problem}", style="red")
    return {
        "transitions": [transition.as_json() for transition in historian.transitions],
        "requests": {"ok": answers.ok, "failed": answers.failed},
        "gpu_memory_released_byte_seconds": saved,
        "device": device,
    }


def _saved(http: httpx.Client, replicas: list[Replica]) -> float:
    return sum(replica.counter(http, SAVED) for replica in replicas)


def _say_where_to_look(console: Console, stage: Stage, replicas: list[Replica], console_url: str) -> None:
    kubectl = Path(stage.cluster.control_plane.kubectl_path)
    console.print("\nThe loop runs. Look at it from another terminal:")
    console.print(f"  {kubectl} --kubeconfig {stage.cluster.kubeconfig} get dmm -A -w", soft_wrap=True)
    console.print(f"  console      {console_url}", soft_wrap=True)
    prometheus = stage.cluster.prometheus.url
    console.print(f"  Prometheus   {prometheus}/query?g0.expr=dormouse_model_residency", soft_wrap=True)
    console.print(f"  alerts       {prometheus}/alerts", soft_wrap=True)
    write_dashboards(DASHBOARDS)
    console.print(f"  Grafana      import {DASHBOARDS.relative_to(REPOSITORY)}/*.json, with this Prometheus as source")
    for replica in replicas:
        console.print(f"  {replica.name:<12} {replica.url}/dormouse/v1/models", soft_wrap=True)
    console.print(f"  logs         {stage.folder}\n", soft_wrap=True)


def _demo_seconds() -> float | None:
    text = os.environ.get("DEMO_SECONDS", "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        sys.exit(f"DEMO_SECONDS is {text!r}; write seconds, for example DEMO_SECONDS=90, or leave it out")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; nothing was left running", file=sys.stderr)  # noqa: T201
        sys.exit(130)
