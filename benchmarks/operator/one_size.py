"""One fleet: made, watched by the operator from its start, left alone, and then partly idle."""

import asyncio
import base64
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from dormouse_contract.ports import Port

from localcluster.cluster import LocalCluster
from localcluster.prometheus import Target
from localcluster.workspace import Workspace

from .objects import OFFLOAD_AFTER_SECONDS, create_fleet, plan_fleet
from .operator_process import OPERATOR_NAMESPACE, AuditLog, OperatorProcess
from .replicas import Replica, Replicas

RBAC = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
KEY_PATH = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets/dormouse-operator-key"
SHARE_IDLE_PER_TICK = 0.05
IDLE_ROUNDS = 2
STEADY_TICKS = 8
QUIET_TICKS = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """steady_cpu_percent: of one core, over `steady_seconds` in which nothing changes.

    rss_mb: at the end of that; peak_rss_mb: the most from the start. idle_cpu_percent: of one core while
    `SHARE_IDLE_PER_TICK` of the fleet becomes idle per tick. api_writes_idle: in the steady time; the Lease and
    watches are in no count. settled_seconds: from the start until the last first status was written.
    """

    models: int
    pod_bytes: int
    initial_sync_seconds: float
    settled_seconds: float
    rss_mb: float
    peak_rss_mb: float
    steady_seconds: float
    steady_cpu_percent: float
    tick_seconds: float
    api_requests_per_minute_idle: float
    api_writes_idle: int
    idle_cpu_percent: float
    idle_orders: int
    idle_to_order_seconds_p50: float
    idle_to_order_seconds_p99: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Say = Callable[[str], None]


async def measure(models: int, seconds: float, say: Say, flags: list[str] | None = None) -> Figures:
    """`seconds`: scrape interval and tick alike."""
    workspace = Workspace()
    audit = AuditLog(workspace.path)
    try:
        with LocalCluster(scrape_interval_seconds=seconds, api_server_flags=audit.api_server_flags) as cluster:
            return await _measure(cluster, audit, workspace.path, models, seconds, say, flags or [])
    finally:
        workspace.remove()


async def _measure(
    cluster: LocalCluster, audit: AuditLog, directory: Path, models: int, seconds: float, say: Say, flags: list[str]
) -> Figures:
    cluster.kubectl("apply", "-f", str(RBAC))
    kubeconfig = cluster.control_plane.service_account_kubeconfig(OPERATOR_NAMESPACE, "dormouse-operator")
    fleet = plan_fleet(models)
    replicas = Replicas(fleet)

    def start(log: str, control_port: int) -> OperatorProcess:
        url = cluster.prometheus.url
        return OperatorProcess(
            kubeconfig, url, directory / log, seconds=seconds, control_port=control_port, flags=flags
        )

    # Alone for a moment, it makes its key; the pods trust it from the start, as pods do that are there already.
    # With a separate log: its empty fleet may be in sync before it ends, which is not what is waited for below.
    certificate = await _certificate(cluster, start("key.log", Port.CONTROL))
    control_port, metrics_port = await replicas.serve(certificate)
    say(f"{models} models: creating {2 * models} objects")
    await create_fleet(
        cluster.control_plane, fleet, lambda done: say(f"{done} of {models}") if done % 1000 == 0 else None
    )
    _scrape(cluster, fleet, metrics_port)
    await _until("Prometheus has scraped everything", lambda: _scraped(cluster, models), 10 * seconds + 60)
    pod_bytes = await asyncio.to_thread(_pod_bytes, cluster, fleet[0])
    audit.new()
    say("starting the operator")
    operator = start("operator.log", control_port)
    try:
        await _until("the operator has seen everything", lambda: "Watching " in operator.log(), 300)
        synced = time.monotonic() - operator.started_at
        say(f"in sync after {synced:.1f} s; waiting until it has nothing left to write")
        settled = await _settle(audit, operator, seconds, say)
        steady = await _steady(audit, operator, seconds)
        say(f"steady: {steady}")
        idle_cpu, delays = await _become_idle(fleet, operator, seconds, say)
        return Figures(
            models=models,
            pod_bytes=pod_bytes,
            initial_sync_seconds=round(synced, 2),
            settled_seconds=round(settled, 1),
            peak_rss_mb=round(operator.memory_mb("VmHWM"), 1),
            idle_cpu_percent=idle_cpu,
            idle_orders=len(delays),
            idle_to_order_seconds_p50=round(statistics.median(delays), 2),
            idle_to_order_seconds_p99=round(sorted(delays)[int(0.99 * (len(delays) - 1))], 2),
            **steady,
        )
    finally:
        operator.stop()
        await replicas.close()


async def _certificate(cluster: LocalCluster, operator: OperatorProcess) -> bytes:
    def read() -> bytes:
        try:
            return base64.b64decode(cluster.control_plane.api.request("GET", KEY_PATH)["data"]["current.crt"])
        except Exception:
            return b""

    try:
        await _until("the operator has made its key", lambda: bool(read()), 60)
        return read()
    finally:
        operator.stop()


def _scrape(cluster: LocalCluster, fleet: list[Replica], metrics_port: int) -> None:
    for namespace in {replica.namespace for replica in fleet}:
        target = Target(f"127.0.0.1:{metrics_port}", {"__metrics_path__": f"/metrics/{namespace}"})
        cluster.prometheus.set_targets(namespace, [target], honor_labels=True)


def _scraped(cluster: LocalCluster, models: int) -> bool:
    found = cluster.prometheus.query("count(dormouse_model_idle_since_timestamp_seconds)")
    return bool(found) and found[0].value == models


def _pod_bytes(cluster: LocalCluster, replica: Replica) -> int:
    path = f"{cluster.control_plane.url}/api/v1/namespaces/{replica.namespace}/pods/{replica.pod}"
    return len(httpx.get(path, verify=cluster.control_plane.api.tls, trust_env=False).content)


async def _settle(audit: AuditLog, operator: OperatorProcess, seconds: float, say: Say) -> float:
    """When the last write was, once there was none for some ticks. Seconds after the start."""
    last_write, told = time.monotonic(), time.monotonic()
    writes = 0
    while time.monotonic() - last_write < QUIET_TICKS * seconds:
        await asyncio.sleep(min(1.0, seconds))
        found = sum(request.is_write for request in audit.new())
        if found:
            last_write, writes = time.monotonic(), writes + found
        if time.monotonic() - told > 20:
            told = time.monotonic()
            say(f"{writes} writes so far; {operator.memory_mb():.0f} MB, {operator.cpu_seconds():.0f} s of CPU")
        _check(operator)
    return last_write - operator.started_at


async def _steady(audit: AuditLog, operator: OperatorProcess, seconds: float) -> dict[str, Any]:
    passes, took = await asyncio.to_thread(operator.passes)
    audit.new()
    began, cpu = time.monotonic(), operator.cpu_seconds()
    await asyncio.sleep(STEADY_TICKS * seconds)
    cpu, lasted = operator.cpu_seconds() - cpu, time.monotonic() - began
    requests = audit.new()
    passes_then, took_then = await asyncio.to_thread(operator.passes)
    return {
        "rss_mb": round(operator.memory_mb(), 1),
        "steady_seconds": round(lasted, 1),
        "steady_cpu_percent": round(100 * cpu / lasted, 2),
        "tick_seconds": round((took_then - took) / max(1.0, passes_then - passes), 4),
        "api_requests_per_minute_idle": round(60 * len(requests) / lasted, 2),
        "api_writes_idle": sum(request.is_write for request in requests),
    }


async def _become_idle(
    fleet: list[Replica], operator: OperatorProcess, seconds: float, say: Say
) -> tuple[float, list[float]]:
    """A share of the fleet per tick passes its limit, each at a moment of its own; from then to its order."""
    waiting = random.Random(7).sample(fleet, max(1, round(IDLE_ROUNDS * SHARE_IDLE_PER_TICK * len(fleet))))  # noqa: S311 - a choice
    # By then even the last of them has been scraped with its new time, as any model that was used has.
    begin = time.time() + 2 * seconds + 5
    reached: dict[str, float] = {}
    for position, replica in enumerate(waiting):
        reached[replica.uid] = begin + IDLE_ROUNDS * seconds * position / len(waiting)
        replica.idle_since = reached[replica.uid] - OFFLOAD_AFTER_SECONDS
    await asyncio.sleep(max(0.0, begin - time.time()))
    began, cpu = time.monotonic(), operator.cpu_seconds()
    say(f"{len(waiting)} models become idle")
    await _until("each of them was ordered", lambda: all(each.ordered_at for each in waiting), 120 + 10 * seconds)
    used = 100 * (operator.cpu_seconds() - cpu) / (time.monotonic() - began)
    return round(used, 2), [each.ordered_at[0] - reached[each.uid] for each in waiting]


async def _until(what: str, check: Callable[[], bool], deadline_seconds: float) -> None:
    deadline = time.monotonic() + deadline_seconds
    while not await asyncio.to_thread(check):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {deadline_seconds:g} s")
        await asyncio.sleep(0.1)


def _check(operator: OperatorProcess) -> None:
    if not operator.running:
        raise RuntimeError(f"the operator ended:\n{operator.log()[-4000:]}")
