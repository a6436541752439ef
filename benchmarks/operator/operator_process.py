"""The operator as its real process, and what the machine and the API server's audit log say of it."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from localcluster import Process
from localcluster.ports import reserve_port

OPERATOR_NAMESPACE = "dormouse-system"
ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:dormouse-operator"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class OperatorProcess:
    def __init__(
        self, kubeconfig: Path, prometheus_url: str, log: Path, *, seconds: float, control_port: int, flags: list[str]
    ) -> None:
        """`seconds`: scrape interval and tick."""
        self.metrics_port = reserve_port()
        command = [
            sys.executable,
            "-m",
            "dormouse_operator.cli",
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
        self.started_at = time.monotonic()
        self._process.start()

    def log(self) -> str:
        return self._process.log.read_text()

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

    def passes(self) -> tuple[float, float]:
        """How many passes there were, and how long they took together."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False, timeout=30).text
        name = "dormouse_operator_reconcile_duration_seconds"
        return _value(text, f"{name}_count"), _value(text, f"{name}_sum")


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """`at` is Unix seconds."""

    at: float
    verb: str
    resource: str

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
                yield Request(time.time(), event["verb"], resource)
