"""One fleet: made, watched by the operator from its start, left alone, and then partly idle."""

import asyncio
import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
from dormouse_contract.metrics import IDLE_SINCE
from dormouse_contract.ports import Port

from localcluster.cluster import LocalCluster
from localcluster.prometheus import Target
from localcluster.workspace import Workspace

from .bad import NAMESPACE as UNRULY
from .bad import Bad
from .figures import Figures
from .objects import create_fleet, delete, plan_bad, plan_fleet
from .operator_process import OPERATOR_NAMESPACE, AuditLog, OperatorProcess
from .phases import BecameIdle, Health, Say, become_idle, choose_idle, in_sync, settle, steady, until
from .replicas import Replica, Replicas

RBAC = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
KEY_PATH = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets/dormouse-operator-key"


async def measure(
    models: int,
    seconds: float,
    say: Say,
    flags: Sequence[str] = (),
    *,
    bad: Sequence[Bad] = (),
    samples: Path | None = None,
) -> Figures:
    """`models` ManagedModels, of which `bad` are bad. `seconds`: scrape interval and tick alike."""
    workspace = Workspace()
    audit = AuditLog(workspace.path)
    try:
        with LocalCluster(scrape_interval_seconds=seconds, api_server_flags=audit.api_server_flags) as cluster:
            one = _OneSize(cluster, audit, workspace.path, models, bad, seconds, say, flags, samples)
            return await one.measure()
    finally:
        workspace.remove()


class _OneSize:
    def __init__(
        self,
        cluster: LocalCluster,
        audit: AuditLog,
        directory: Path,
        models: int,
        bad: Sequence[Bad],
        seconds: float,
        say: Say,
        flags: Sequence[str],
        samples: Path | None,
    ) -> None:
        self._cluster = cluster
        self._audit = audit
        self._directory = directory
        self._seconds = seconds
        self._say = say
        self._flags = list(flags)
        self._samples = samples
        self._honest = plan_fleet(models - len(bad))
        self._bad = plan_bad(bad)
        self._fleet = [*self._honest, *self._bad]

    async def measure(self) -> Figures:
        cluster, seconds, say = self._cluster, self._seconds, self._say
        cluster.kubectl("apply", "-f", str(RBAC))
        replicas = Replicas(self._fleet)
        # Alone for a moment, it makes its key; the pods trust it from the start, as pods do that are there already.
        certificate = await _certificate(cluster, self._start("key.log", Port.CONTROL))
        control_port, metrics_port = await replicas.serve(certificate)
        say(f"{len(self._fleet)} models: creating {2 * len(self._fleet)} objects")
        await create_fleet(
            cluster.control_plane, self._fleet, lambda done: say(f"{done} made") if done % 1000 == 0 else None
        )
        _scrape(cluster, self._fleet, metrics_port)
        await until(
            "Prometheus has scraped everything", lambda: _scraped(cluster, len(self._honest)), 10 * seconds + 60
        )
        self._audit.new()
        say("starting the operator")
        operator = self._start("operator.log", control_port, self._samples)
        try:
            return await self._watch(operator)
        finally:
            operator.stop()
            await replicas.close()

    async def _watch(self, operator: OperatorProcess) -> Figures:
        seconds, say = self._seconds, self._say
        pods = sum(replica.has_pod for replica in self._fleet)
        synced = await in_sync(operator, len(self._fleet), pods)
        say(f"in sync after {synced:.1f} s; waiting until it has nothing left to write")
        health = Health(operator)
        watching = asyncio.create_task(health.watch())
        try:
            spent = {"sync": operator.end_phase()}
            settled = await settle(self._audit, operator, self._honest, seconds, say)
            spent["settle"] = operator.end_phase()
            rest = await steady(self._audit, operator, len(self._fleet), seconds)
            say(f"steady: {rest}")
            spent["steady"] = operator.end_phase()
            waiting, others = choose_idle(self._honest)
            self._audit.new()
            idle = await become_idle(waiting, operator, seconds, say)
            requests = Counter(f"{each.verb} {each.resource}" for each in self._audit.new())
            say(f"for {len(waiting)} orders: {dict(requests)}")
            spent["idle"] = operator.end_phase()
            peak = operator.memory_mb("VmHWM")
            alone = await self._without_bad(operator, others) if self._bad else None
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return Figures(
            models=len(self._fleet),
            bad=len(self._bad),
            pod_bytes=await asyncio.to_thread(_pod_bytes, self._cluster, self._honest[0]),
            initial_sync_seconds=round(synced, 2),
            first_status_seconds=round(max(settled.first_statuses), 1),
            first_status_seconds_p50=round(sorted(settled.first_statuses)[len(settled.first_statuses) // 2], 1),
            settled_seconds=round(settled.last_write, 1),
            peak_rss_mb=round(peak, 1),
            idle_cpu_percent=idle.cpu_percent,
            idle_orders=len(idle.delays),
            idle_to_order_seconds_p50=idle.quantile(0.5),
            idle_to_order_seconds_p99=idle.quantile(0.99),
            idle_to_order_seconds_p50_alone=alone.quantile(0.5) if alone else None,
            idle_to_order_seconds_p99_alone=alone.quantile(0.99) if alone else None,
            cpu_seconds=_each(spent),
            unhealthy=health.unhealthy,
            **rest,
        )

    async def _without_bad(self, operator: OperatorProcess, waiting: list[Replica]) -> BecameIdle:
        """The same on the same machine a moment later, so that the two can be compared."""
        await delete(self._cluster.control_plane, self._bad)
        self._cluster.prometheus.set_targets(UNRULY, [])
        self._say(f"{len(self._bad)} bad ones are deleted")
        honest = len(self._honest)
        await until(
            "the operator has forgotten the bad ones",
            lambda: operator.metrics().managed_models == honest,
            120 + 10 * self._seconds,
            every_seconds=self._seconds,
        )
        return await become_idle(waiting, operator, self._seconds, self._say)

    def _start(self, log: str, control_port: int, samples: Path | None = None) -> OperatorProcess:
        account = self._cluster.control_plane.service_account_kubeconfig(OPERATOR_NAMESPACE, "dormouse-operator")
        return OperatorProcess(
            account,
            self._cluster.prometheus.url,
            self._directory / log,
            seconds=self._seconds,
            control_port=control_port,
            flags=self._flags,
            samples=samples,
        )


def _each(spent: dict[str, float]) -> dict[str, float]:
    """From what was spent until the end of each phase to what each of them took."""
    before = [0.0, *spent.values()]
    return {phase: round(until - since, 2) for (phase, until), since in zip(spent.items(), before, strict=False)}


async def _certificate(cluster: LocalCluster, operator: OperatorProcess) -> bytes:
    def read() -> bytes:
        try:
            return base64.b64decode(cluster.control_plane.api.request("GET", KEY_PATH)["data"]["current.crt"])
        except Exception:
            return b""

    try:
        await until("the operator has made its key", lambda: bool(read()), 60)
        return read()
    finally:
        operator.stop()


def _scrape(cluster: LocalCluster, fleet: list[Replica], metrics_port: int) -> None:
    for namespace in {replica.namespace for replica in fleet}:
        target = Target(f"127.0.0.1:{metrics_port}", {"__metrics_path__": f"/metrics/{namespace}"})
        cluster.prometheus.set_targets(namespace, [target], honor_labels=True)


def _scraped(cluster: LocalCluster, models: int) -> bool:
    query = f'count({IDLE_SINCE.name}{{namespace!="{UNRULY}"}})'
    found = cluster.prometheus.query(query)
    return bool(found) and found[0].value == models


def _pod_bytes(cluster: LocalCluster, replica: Replica) -> int:
    path = f"{cluster.control_plane.url}/api/v1/namespaces/{replica.namespace}/pods/{replica.pod}"
    return len(httpx.get(path, verify=cluster.control_plane.api.tls, trust_env=False).content)
