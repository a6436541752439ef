"""The honest tenants: models that are used, become idle, are ordered to sleep, and wake again, over and over.

What is measured is the time from the moment at which a model is idle for long enough until the order to sleep reaches
its pod. That is all that a tenant sees of the operator.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.operator.fake_pod import FakeModel

from .listener import Listener, Request, answer, read_request, response, serving_text

MODEL = "main"
# Above two scrape intervals, so that it is the operator's to decide and not the replica's.
OFFLOAD_AFTER_SECONDS = 3
REST_SECONDS = (0.5, 1.5)


@dataclass(slots=True)
class HonestPod:
    """One pod with one model. `delays`: (when the order came, how long after the model was idle for long enough)."""

    namespace: str
    name: str
    ip: str
    uid: str = ""
    model: FakeModel = field(default_factory=FakeModel)
    delays: list[tuple[float, float]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @property
    def idle_reached(self) -> float | None:
        """When its idle time was or will be long enough; None while it sleeps."""
        return self.model.idle_since + OFFLOAD_AFTER_SECONDS if self.model.residency == "GPU" else None


class HonestTenants:
    """All of them answer at once, with the sidecar's own TLS, each on an address of its own."""

    def __init__(self, pods: list[HonestPod], listener: Listener) -> None:
        self.pods = pods
        self._listener = listener
        # A model is changed by orders and by its use, and read by the test.
        self._lock = threading.Lock()
        self._dice = random.Random(18)  # noqa: S311 - a choice of moments

    def serve_metrics(self, port: int) -> None:
        for pod in self.pods:
            self._listener.listen(pod.ip, port, serving_text(lambda pod=pod: self._metrics(pod)))

    def serve_control(self, port: int, tls: ssl.SSLContext) -> None:
        for pod in self.pods:

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pod: HonestPod = pod) -> None:
                status, body = self._answer(pod, await read_request(reader))
                await answer(writer, response(json.dumps(body).encode(), status))

            self._listener.listen(pod.ip, port, handle, tls)

    def delays(self, since: float, until: float) -> list[float]:
        """Of the orders that came in this time, and of those that were due and did not come: so far, at least."""
        with self._lock:
            came = [delay for pod in self.pods for at, delay in pod.delays if since <= at <= until]
            due = [reached for pod in self.pods if (reached := pod.idle_reached) is not None and reached < until]
            return came + [until - reached for reached in due]

    def waiting_seconds(self) -> float:
        """How long the one that waits longest for its order has waited."""
        now = time.time()
        with self._lock:
            return max((now - reached for pod in self.pods if (reached := pod.idle_reached) is not None), default=0.0)

    def take_strays(self) -> list[str]:
        """Requests that were none of the operator's to this pod, since the last call."""
        found = [f"{pod.namespace}/{pod.name}: {stray}" for pod in self.pods for stray in pod.strays]
        for pod in self.pods:
            pod.strays.clear()
        return found

    def _metrics(self, pod: HonestPod) -> bytes:
        with self._lock:
            return "\n".join([*pod.model.exposition(MODEL), ""]).encode()

    def _answer(self, pod: HonestPod, request: Request) -> tuple[str, dict[str, Any]]:
        now = time.time()
        with self._lock:
            model = pod.model
            if (request.method, request.path) == ("GET", "/dormouse/v1/models"):
                return "200 OK", {"models": [model.snapshot(MODEL)]}
            body = json.loads(request.body or b"{}")
            if request.path not in (f"/dormouse/v1/models/{MODEL}/{what}" for what in ("residency", "policy")):
                pod.strays.append(f"{request.method} {request.path}")
                return "404 Not Found", {"title": "NoSuchModel", "status": 404, "detail": "", "reason": "NoSuchModel"}
            if body["podUID"] != pod.uid:
                pod.strays.append(f"an order for {body['podUID']}")
                return "421 Misdirected", {"title": "WrongPod", "status": 421, "detail": "", "reason": "WrongPod"}
            if request.path.endswith("/residency") and not self._move(pod, body, now):
                return "409 Conflict", {"title": "InUse", "status": 409, "detail": "used lately", "reason": "InUse"}
            return "200 OK", model.snapshot(MODEL)

    def _move(self, pod: HonestPod, order: dict[str, Any], now: float) -> bool:
        """Whether it is asleep then. It was used since when an operator that is late goes by what was."""
        reached = pod.idle_reached
        if reached is not None and now < reached:
            return False
        if reached is not None:
            pod.delays.append((now, now - reached))
            pod.model.move("CPU", order["trigger"], order["reason"])
            self._listener.loop.call_later(self._dice.uniform(*REST_SECONDS), self._use, pod)
        return True

    def _use(self, pod: HonestPod) -> None:
        """A request, which wakes the model and ends at once: from now on it is idle again."""
        with self._lock:
            if pod.model.residency != "GPU":
                pod.model.move("GPU", "Demand", "a request")
