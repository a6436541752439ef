"""The bad tenant: one namespace, and all that somebody may do who has every right in it and none elsewhere."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dormouse_contract import metrics

from localcluster.cluster import LocalCluster
from localcluster.errors import ApiRefused
from localcluster.pods import register_pod, remove_pod
from localcluster.prometheus import Target
from tests.operator.world import SIDECAR

from .listener import Handle, Listener, serving_text
from .places import Places

Metrics = Callable[[], bytes]
WRITERS = 8
# Of the scrapes that the chart brings; what a tenant adds has another.
SIDECARS_JOB = "sidecars"


class BadTenant:
    """What an attack works with. `close` takes all of it away again."""

    def __init__(
        self,
        namespace: str,
        cluster: LocalCluster,
        listener: Listener,
        places: Places,
        tls: ssl.SSLContext,
        neighbours: Iterable[tuple[str, str, str]],
        operator_url: str,
    ) -> None:
        """`neighbours`: namespace, pod and address of honest pods. `operator_url` is of its metrics."""
        self.namespace = namespace
        self.neighbours = list(neighbours)
        self.operator_url = operator_url
        self.api_url = cluster.control_plane.url
        self.control_port = places.control_port
        self.tls = tls
        self._cluster = cluster
        self._listener = listener
        self._places = places
        self._targets: dict[str, list[Target]] = {}
        self._ips: list[str] = []
        self._controlled: list[str] = []
        self._ended = threading.Event()
        self._last: list[Callable[[], object]] = []
        self._threads: list[threading.Thread] = []
        cluster.control_plane.api.create_namespace(namespace)

    def serve(self, control: Handle | None, exposed: Metrics | None, *, ends_tls: bool = True) -> str:
        """An address with a control port and a metrics port. `ends_tls` False gives the handler the bare connection."""
        ip = self._places.next_ip()
        self._ips.append(ip)
        if control is not None:
            self._controlled.append(ip)
            self._listener.listen(ip, self._places.control_port, control, self.tls if ends_tls else None)
        if exposed is not None:
            self._listener.listen(ip, self._places.metrics_port, serving_text(exposed))
        return ip

    def pod(
        self,
        name: str,
        ip: str,
        *,
        app: str = "",
        scraped: bool = True,
        labels: Mapping[str, str] = {},
        labels_of_scrape: Mapping[str, str] = {},
    ) -> None:
        register_pod(
            self._cluster.control_plane,
            namespace=self.namespace,
            name=name,
            ip=ip,
            labels={"app": app or name, **labels},
            spec=SIDECAR,
        )
        if scraped:
            scrape = {"job": SIDECARS_JOB, "namespace": self.namespace, "pod": name, **labels_of_scrape}
            target = Target(f"{ip}:{self._places.metrics_port}", scrape)
            self._targets.setdefault(self.namespace, []).append(target)

    def remove_pod(self, name: str) -> None:
        remove_pod(self._cluster.control_plane, namespace=self.namespace, name=name)

    def managed(self, name: str, *, app: str = "", metadata: Mapping[str, Any] = {}, **spec: Any) -> None:
        body = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"name": name, **metadata},
            "spec": {"selector": {"matchLabels": {"app": app or name}}, **spec},
        }
        self.request("POST", "managedmodels", body)

    def change(self, name: str, spec: Mapping[str, Any]) -> None:
        path = f"{self._path('managedmodels')}/{name}"
        self._cluster.control_plane.api.request(
            "PATCH", path, {"spec": spec}, content_type="application/merge-patch+json"
        )

    def request(self, method: str, kind: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._cluster.control_plane.api.request(method, self._path(kind), body)

    def scrape(self, group: str = "", ips: Iterable[str] = (), *, honor_labels: bool = False) -> None:
        """Prometheus begins with the pods that were made until now, or with a monitor of the tenant's own."""
        targets = [Target(f"{ip}:{self._places.metrics_port}") for ip in ips]
        name = f"{self.namespace}-{group}" if group else self.namespace
        self._targets.setdefault(name, []).extend(targets)
        self._cluster.prometheus.set_targets(name, self._targets[name], honor_labels=honor_labels)

    def until_scraped(self, series: int, matcher: str = "") -> None:
        """Prometheus has at least so many residencies, of its own namespace or by `matcher`: the attack has arrived."""
        matcher = matcher or f'namespace="{self.namespace}"'
        chosen = f"{metrics.RESIDENCY.name}{{{matcher}}}"
        self._cluster.prometheus.wait_for(f"count({chosen}) >= {series}", deadline_seconds=60)

    def side_by_side(self, calls: Iterable[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            for done in [pool.submit(call) for call in calls]:
                done.result()

    def repeat(self, per_second: float, work: Callable[[int], None]) -> None:
        """In the background until the end; `work` gets the number of the turn."""

        def run() -> None:
            began, turn = time.monotonic(), 0
            while not self._ended.wait(max(0.0, began + turn / per_second - time.monotonic())):
                try:
                    work(turn)
                except ApiRefused:
                    if not self._ended.is_set():
                        raise
                turn += 1

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def at_the_end(self, work: Callable[[], object]) -> None:
        self._last.append(work)

    def was_called(self) -> bool:
        """Whether the operator called one of its pods, where there is one to be called."""
        ports = [(ip, self._places.control_port) for ip in self._controlled]
        return not ports or any(self._listener.connections[port] for port in ports)

    def reasons(self) -> set[str]:
        """Of all conditions of its ManagedModels."""
        found = self.request("GET", "managedmodels")["items"]
        return {
            each["reason"] for item in found for each in item.get("status", {}).get("conditions", ()) if each["reason"]
        }

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=10)
        for work in self._last:
            work()
        for name in self._targets:
            for honored in (False, True):
                self._cluster.prometheus.set_targets(name, [], honor_labels=honored)
        for ip in self._ips:
            self._listener.forget(ip)
        self._cluster.control_plane.api.remove_namespace(self.namespace)

    def _path(self, kind: str) -> str:
        group = "/apis/dormouse.dev/v1alpha1" if kind == "managedmodels" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind}"
