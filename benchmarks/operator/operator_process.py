"""The operator as its real process, and what the machine and the API server's audit log say of it."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from dormouse_contract.metrics import MANAGED_MODELS, RECONCILE_DURATION

from localcluster import Process
from localcluster.ports import reserve_port

OPERATOR_NAMESPACE = "dormouse-system"
ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:dormouse-operator"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class OperatorProcess:
    """Its log is its own: whatever is read there, this very process has written."""

    def __init__(
        self,
        kubeconfig: Path,
        prometheus_url: str,
        log: Path,
        *,
        seconds: float,
        control_port: int,
        flags: list[str],
        samples: Path | None = None,
    ) -> None:
        """`seconds`: scrape interval and tick. `samples`: where it notes what its CPU time goes to, for each phase."""
        if log.exists():
            raise FileExistsError(f"{log} has what another operator wrote; give each one a log of its own")
        self.metrics_port = reserve_port()
        self._samples = samples
        command = [
            sys.executable,
            "-m",
            *(["benchmarks.operator.sampled", str(samples)] if samples else ["dormouse_operator.cli"]),
            "run",
            f"--kubeconfig={kubeconfig}",
            f"--prometheus-url={prometheus_url}",
            f"--scrape-interval={seconds}",
            f"--tick={seconds}",
            f"--operator-namespace={OPERATOR_NAMESPACE}",
            "--metrics-host=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
            f"--control-port={control_port}",
            *flags,
        ]
        # Should the benchmark be killed, it goes along.
        self._process = Process("operator", command, directory=log.parent, log=log, grace_seconds=30)
        self.started_at, self.started_unix = time.monotonic(), time.time()
        self._process.start()

    def log(self) -> str:
        return self._process.log.read_text()

    def watching(self) -> tuple[int, int] | None:
        """How many ManagedModels and pods it took for the whole of the cluster at first; None before."""
        found = re.search(r"Watching (\d+) ManagedModels and (\d+) pods", self.log())
        return (int(found[1]), int(found[2])) if found else None

    def end_phase(self) -> float:
        """The CPU seconds since its start; where they went is noted, if it is noted at all."""
        if self._samples is not None:
            self._process.send_signal(signal.SIGUSR2)
        return self.cpu_seconds()

    @property
    def running(self) -> bool:
        return self._process.running

    def stop(self) -> int:
        code = self._process.stop()
        return -1 if code is None else code

    def cpu_seconds(self) -> float:
        """User and system, of all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def memory_mb(self, field: str = "VmRSS") -> float:
        """VmRSS is now, VmHWM the most that it ever was."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0

    def metrics(self) -> "Metrics":
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False, timeout=30).text
        duration = RECONCILE_DURATION.name
        return Metrics(
            managed_models=_sum(text, MANAGED_MODELS.name),
            passes=_sum(text, f"{duration}_count"),
            pass_seconds=_sum(text, f"{duration}_sum"),
        )


@dataclass(frozen=True, slots=True)
class Metrics:
    """passes: how many there were; pass_seconds: how long they took together."""

    managed_models: float
    passes: float
    pass_seconds: float


def _sum(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Request:
    """`at`: when it was answered (Unix seconds)."""

    at: float
    verb: str
    resource: str
    namespace: str
    name: str
    ok: bool

    @property
    def is_write(self) -> bool:
        return self.verb in ("create", "update", "patch", "delete", "deletecollection")


class AuditLog:
    """What the API server says that the operator asked of it. `api_server_flags` turn it on."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "audit.log"
        self._policy = directory / "audit-policy.yaml"
        self._policy.write_text(
            json.dumps(
                {
                    "apiVersion": "audit.k8s.io/v1",
                    "kind": "Policy",
                    "omitStages": ["RequestReceived"],
                    "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
                }
            )
        )
        self._offset = 0

    @property
    def api_server_flags(self) -> list[str]:
        return [
            f"--audit-policy-file={self._policy}",
            f"--audit-log-path={self._file}",
            "--audit-log-maxsize=2000",
        ]

    def new(self) -> list[Request]:
        """Requests since the last call, without watches (which last) and the Lease."""
        return [request for request in self._lines() if request.verb != "watch" and request.resource != "leases"]

    def _lines(self) -> Iterator[Request]:
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                event = json.loads(line)
                reference = event.get("objectRef") or {}
                resource = "/".join(filter(None, (reference.get("resource", ""), reference.get("subresource", ""))))
                yield Request(
                    datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
                    event["verb"],
                    resource,
                    reference.get("namespace", ""),
                    reference.get("name", ""),
                    event.get("responseStatus", {}).get("code", 0) < 300,
                )
