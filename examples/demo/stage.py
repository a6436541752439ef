"""Everything that the loop needs, as real processes on this machine: cluster, operator, model servers, sidecars.

A replica here is what a pod is in a cluster: a model server, its sidecar, the shared socket and the mounted
trust, with a Pod object of the API server that says where it listens (an address of 127/8 of its own).
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from dormouse_contract.ports import Port
from dormouse_contract.wire import ModelSnapshot

from localcluster import LocalCluster, Process, Target, register_pod
from localcluster.configmap_mount import ConfigMapMount
from localcluster.ports import reserve_port

REPOSITORY = Path(__file__).parents[2]
TRUST_CONFIG_MAP = "dormouse-operator-trust"
OPERATOR_NAMESPACE = "dormouse-system"
MODEL_NAME = "minilm"
# torch and sentence-transformers are imported by several processes at once on a small machine.
START_DEADLINE_SECONDS = 180.0


@dataclass(slots=True)
class Replica:
    """One pod: where it is and the processes that it consists of."""

    name: str
    namespace: str
    ip: str
    uid: str
    port: int
    folder: Path
    server: Process
    sidecar: Process

    @property
    def url(self) -> str:
        """Of the app, where requests go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Of the sidecar, where Prometheus goes."""
        return f"http://{self.ip}:{Port.SIDECAR}"

    @property
    def trust_folder(self) -> Path:
        return self.folder / "trust"

    def snapshot(self, http: httpx.Client, model: str = MODEL_NAME) -> ModelSnapshot:
        """Raises httpx.HTTPError when the server is not there."""
        answer = http.get(f"{self.url}/dormouse/v1/models/{model}")
        answer.raise_for_status()
        return ModelSnapshot.model_validate(answer.json())

    def counter(self, http: httpx.Client, name: str) -> float:
        """The sum of a metric's samples, as the sidecar exports it now."""
        text = http.get(f"{self.metrics_url}/metrics").text
        samples = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(sample.rsplit(" ", 1)[1]) for sample in samples)


class Stage:
    """Builds the parts one by one; leaving the `with` block stops them all, the last first."""

    def __init__(
        self, *, device: str | None = None, scrape_interval_seconds: float = 1.0, rule_files: Sequence[Path] = ()
    ) -> None:
        self.cluster = LocalCluster(scrape_interval_seconds=scrape_interval_seconds, rule_files=rule_files)
        self.folder = self.cluster.directory
        self.device = device or f"sim:512MiB@{self.folder}/device.json"
        self.replicas: list[Replica] = []
        self.operator: Process | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        self._stack.enter_context(self.cluster)
        return self

    def __exit__(self, *ended: Any) -> None:
        self._stack.close()

    def add_namespace(self, name: str) -> None:
        self.cluster.control_plane.api.create_namespace(name)

    def add_replica(
        self,
        name: str,
        namespace: str,
        *,
        environment: Mapping[str, str] | None = None,
        app: str = "examples.embedding_server:create_app",
    ) -> Replica:
        """Start a model server with its sidecar, register the Pod and have it scraped. Returns at once."""
        ip = _free_loopback_address()
        uid = register_pod(
            self.cluster.control_plane,
            namespace=namespace,
            name=f"{name}-0",
            ip=ip,
            labels={"app": name},
            spec={"initContainers": [_SIDECAR_CONTAINER]},
        )
        folder = self.folder / f"{namespace}-{name}"
        folder.mkdir(parents=True)
        port, socket = reserve_port(), folder / "model.sock"
        server = Process(
            f"{name}-server",
            [
                sys.executable,
                "-m",
                "dormouse_modelserver.cli",
                "serve",
                f"--app={app}",
                f"--port={port}",
                f"--device={self.device}",
            ],
            directory=REPOSITORY,
            log=folder / "server.log",
            environment={"DORMOUSE_SOCKET": str(socket), "PROJECT_DIR": str(REPOSITORY), **(environment or {})},
        )
        sidecar = Process(
            f"{name}-sidecar",
            [
                *(sys.executable, "-m", "dormouse_sidecar.cli", f"--pod-uid={uid}", f"--socket={socket}"),
                *(f"--trust-dir={folder / 'trust'}", f"--control-host={ip}", f"--plain-host={ip}", "--trust-poll=0.2"),
            ],
            directory=folder,
            log=folder / "sidecar.log",
        )
        replica = Replica(name, namespace, ip, uid, port, folder, server, sidecar)
        mount = ConfigMapMount(
            self.cluster.control_plane, namespace=namespace, name=TRUST_CONFIG_MAP, folder=replica.trust_folder
        )
        self._stack.enter_context(mount)
        self._stack.enter_context(server)
        self._stack.enter_context(sidecar)
        self.replicas.append(replica)
        targets = [
            Target(f"{r.ip}:{Port.SIDECAR}", {"namespace": r.namespace, "pod": f"{r.name}-0"}) for r in self.replicas
        ]
        self.cluster.prometheus.set_targets("replicas", targets)
        return replica

    def start_operator(self, *more: str) -> Process:
        """Under the RBAC that is shipped and nothing more; `more` are further arguments."""
        self.cluster.kubectl("apply", "-f", str(REPOSITORY / "deploy" / "rbac.yaml"))
        kubeconfig = self.cluster.control_plane.service_account_kubeconfig(OPERATOR_NAMESPACE, "dormouse-operator")
        port = reserve_port()
        operator = Process(
            "operator",
            [
                *(sys.executable, "-m", "dormouse_operator.cli", "run", f"--kubeconfig={kubeconfig}"),
                *(f"--prometheus-url={self.cluster.prometheus.url}", "--scrape-interval=1", "--tick=1"),
                *(f"--operator-namespace={OPERATOR_NAMESPACE}", "--metrics-host=127.0.0.1", f"--metrics-port={port}"),
                *more,
            ],
            directory=self.folder / "operator",
        )
        self.operator = self._stack.enter_context(operator)
        self.cluster.prometheus.set_targets("operator", [Target(f"127.0.0.1:{port}")], honor_labels=True)
        return operator

    def start_console(self) -> str:
        """On this machine, with the admin's kubeconfig. The address to open, with the key that lets nobody else in."""
        port, key = reserve_port(), secrets.token_urlsafe(24)
        plane = self.cluster.control_plane
        console = Process(
            "console",
            [
                *(sys.executable, "-m", "dormouse_console.cli", "--local", f"--port={port}"),
                *(f"--kubeconfig={self.cluster.kubeconfig}", f"--kubectl={plane.kubectl_path}"),
                f"--prometheus-url={self.cluster.prometheus.url}",
            ],
            directory=self.folder,
            environment={"DORMOUSE_CONSOLE_KEY": key},
        )
        self._stack.enter_context(console)
        url = f"http://127.0.0.1:{port}"
        console.wait_until(partial(_answers, f"{url}/healthz"), deadline_seconds=60, what="answering")
        return f"{url}/#key={key}"

    def wait_until_ready(self) -> None:
        """Until each server takes requests, as its sidecar tells. The control port opens when the trust arrives."""
        for replica in self.replicas:
            replica.server.wait_until(
                partial(_answers, f"{replica.metrics_url}/readyz"),
                deadline_seconds=START_DEADLINE_SECONDS,
                what="ready for requests",
            )

    @contextmanager
    def prometheus_stopped(self) -> Iterator[None]:
        self.cluster.prometheus.stop()
        try:
            yield
        finally:
            self.cluster.prometheus.start()


_SIDECAR_CONTAINER: dict[str, Any] = {
    "name": "dormouse-sidecar",
    "image": "localhost/registered-by-hand",
    "restartPolicy": "Always",
    "ports": [
        {"name": "control", "containerPort": Port.CONTROL},
        {"name": "dormouse", "containerPort": Port.SIDECAR},
    ],
}


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=2, trust_env=False).is_success
    return False


def _free_loopback_address() -> str:
    """An address of 127/8 that nobody else uses: two demos side by side both want the control port."""
    return f"127.{20 + secrets.randbelow(200)}.{secrets.randbelow(256)}.{2 + secrets.randbelow(250)}"
