"""A pod's sidecar with one or more models, in this process: real mTLS and real metrics, movable by hand.

Stands in for sidecar and model server where a test must see each order or break things on purpose.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dormouse_contract import metrics
from dormouse_sidecar.identity import Identity
from dormouse_sidecar.tls import server_context

MIB = 1024 * 1024


@dataclass
class FakeModel:
    residency: str = "GPU"
    in_flight: int = 0
    idle_since: float = field(default_factory=time.time)
    released_bytes: int = 0
    last_transition: dict[str, Any] | None = None
    refuse_with: tuple[int, str] | None = None

    def move(self, to: str, trigger: str, reason: str) -> None:
        came_from, now = self.residency, time.time()
        self.residency = to
        self.released_bytes = 0 if to == "GPU" else 512 * MIB
        if to == "GPU":
            self.idle_since = now
        self.last_transition = {
            "from": came_from,
            "to": to,
            "trigger": trigger,
            "reason": reason,
            "time": now,
            "seconds": 0.1,
            "releasedBytes": self.released_bytes,
            "outcome": "ok",
        }

    def snapshot(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "residency": self.residency,
            "inFlight": self.in_flight,
            "waiting": 0,
            "idleSeconds": 0 if self.in_flight else time.time() - self.idle_since,
            "lastRequestEnd": self.idle_since,
            "gpuMemoryBytes": 512 * MIB if self.residency == "GPU" else 0,
            "hostMemoryBytes": 512 * MIB,
            "gpuMemoryReleasedBytes": self.released_bytes,
            "releasedMethod": "sim",
            "device": "sim",
            "dirty": False,
            "pinned": False,
            "restoreEstimateSeconds": None,
            "transition": None,
            "lastTransition": self.last_transition,
        }

    def exposition(self, name: str) -> list[str]:
        moved = self.last_transition["time"] if self.last_transition else 0
        values = {
            metrics.IN_FLIGHT: self.in_flight,
            metrics.IDLE_SINCE: 0 if self.in_flight else self.idle_since,
            metrics.LAST_TRANSITION: moved,
            metrics.TRANSITION_START: 0,
            metrics.RELEASED: self.released_bytes,
            metrics.GPU_MEMORY: 512 * MIB if self.residency == "GPU" else 0,
        }
        lines = [f'{metric.name}{{model="{name}"}} {value!r}' for metric, value in values.items()]
        return lines + [
            f'{metrics.RESIDENCY.name}{{model="{name}",residency="{tier}"}} {int(tier == self.residency)}'
            for tier in ("GPU", "CPU", "Unloaded")
        ]


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: dict[str, Any]
    at: float


class FakePod:
    """Listens on `ip`; 9743 at once, 7443 after `trust`. `uid` is set when the Pod object is there."""

    def __init__(self, ip: str, models: dict[str, FakeModel]) -> None:
        self.ip = ip
        self.models = models
        self.uid = ""
        self.calls: list[Call] = []
        self._servers: list[ThreadingHTTPServer] = []
        self._serve(9743, None)

    def trust(self, certificate_pem: str) -> None:
        self._serve(7443, server_context(Identity.make("pod"), [ssl.PEM_cert_to_DER_cert(certificate_pem)]))

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()

    @property
    def orders(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith("/residency")]

    @property
    def loans(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith("/policy")]

    def _serve(self, port: int, context: ssl.SSLContext | None) -> None:
        server = _Server((self.ip, port), _handler(self))
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.calls.append(Call(method, path, body, time.time()))
        if path == "/dormouse/v1/models":
            return 200, {"models": [model.snapshot(name) for name, model in self.models.items()]}
        name = path.split("/")[4]
        model = self.models.get(name)
        if model is None:
            return _problem(404, "NoSuchModel")
        if body["podUID"] != self.uid:
            return _problem(421, "WrongPod")
        if path.endswith("/policy"):
            return 200, model.snapshot(name)
        if model.refuse_with is not None:
            return _problem(*model.refuse_with)
        wait = body.get("ifIdleForSeconds")
        if wait is not None and (model.in_flight or time.time() - model.idle_since < wait):
            return _problem(409, "InUse")
        if model.residency != body["desired"]:
            model.move(body["desired"], body["trigger"], body["reason"])
        return 200, model.snapshot(name)

    def metrics_text(self) -> str:
        lines = [line for name, model in self.models.items() for line in model.exposition(name)]
        return "\n".join([*lines, ""])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A refused handshake is what some tests are about; it need not be printed."""


def _handler(pod: FakePod) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._send(200, "text/plain; version=0.0.4", pod.metrics_text().encode())
            elif self.path == "/healthz":
                self._send(200, "text/plain", b"ok")
            else:
                self._control({})

        def do_PUT(self) -> None:
            self._control(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _control(self, body: dict[str, Any]) -> None:
            status, answer = pod.answer(self.command, self.path, body)
            kind = "application/json" if status < 400 else "application/problem+json"
            self._send(status, kind, json.dumps(answer).encode())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler


def _problem(status: int, reason: str) -> tuple[int, dict[str, Any]]:
    return status, {"title": reason, "status": status, "detail": f"refused: {reason}", "reason": reason}
