"""All pods of the fleet in one server: each is an address of 127/8, which Linux routes to this machine.

The control port speaks the operator's real mTLS. The metrics of a whole namespace are one target, so that one
server can stand in for thousands; the series have the labels that they have when each pod is scraped.
"""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

from dormouse_contract import metrics
from dormouse_sidecar.identity import Identity
from dormouse_sidecar.tls import server_context

from . import bad
from .bad import Bad

HELD_BYTES = 4 << 30
MODEL = "main"


@dataclass(slots=True)
class Replica:
    """A pod. `ordered_at`: Unix time of each order to move it. `bad` None for an honest one."""

    namespace: str
    pod: str
    ip: str
    bad: Bad | None = None
    uid: str = ""
    residency: str = "GPU"
    idle_since: float = field(default_factory=time.time)
    moved: dict[str, Any] | None = None
    ordered_at: list[float] = field(default_factory=list)

    def take(self, order: dict[str, Any]) -> None:
        self.ordered_at.append(time.time())
        if order["desired"] != self.residency:
            self.moved = {
                "from": self.residency,
                "to": order["desired"],
                "trigger": order["trigger"],
                "reason": order["reason"],
                "time": time.time(),
                "seconds": 0.5,
                "releasedBytes": HELD_BYTES,
                "outcome": "ok",
            }
            self.residency = order["desired"]

    def snapshot(self) -> dict[str, Any]:
        awake = self.residency == "GPU"
        return {
            "name": MODEL,
            "residency": self.residency,
            "inFlight": 0,
            "waiting": 0,
            "idleSeconds": time.time() - self.idle_since,
            "lastRequestEnd": self.idle_since,
            "gpuMemoryBytes": HELD_BYTES if awake else 0,
            "hostMemoryBytes": HELD_BYTES,
            "gpuMemoryReleasedBytes": 0 if awake else HELD_BYTES,
            "releasedMethod": "sim",
            "device": "sim",
            "dirty": False,
            "pinned": False,
            "restoreEstimateSeconds": 1.5,
            "transition": None,
            "lastTransition": self.moved,
        }

    @property
    def app(self) -> str:
        """What its label says, and the name of its ManagedModel."""
        return self.pod.rsplit("-", 2)[0]

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name of its ManagedModel."""
        return (self.namespace, self.app)

    @property
    def has_pod(self) -> bool:
        return self.bad is not Bad.WITHOUT_PODS

    def exposition(self) -> list[str]:
        names = [MODEL, *(f"model-{number}" for number in range(1, self.bad.models if self.bad else 1))]
        return [line for name in names for line in self._series(name)]

    def _series(self, model: str) -> list[str]:
        awake = self.residency == "GPU"
        labels = (
            f'namespace="{self.namespace}",pod="{self.pod}",container="dormouse-sidecar",endpoint="dormouse-metrics",'
            f'model="{model}"'
        )
        honest = {
            metrics.IN_FLIGHT: 0,
            metrics.IDLE_SINCE: self.idle_since,
            metrics.LAST_TRANSITION: self.moved["time"] if self.moved else 0,
            metrics.TRANSITION_START: 0,
            metrics.RELEASED: 0 if awake else HELD_BYTES,
            metrics.GPU_MEMORY: HELD_BYTES if awake else 0,
        }
        values = bad.figures(self.bad, honest) if self.bad else honest
        lines = [f"{metric.name}{{{labels}}} {value!r}" for metric, value in values.items()]
        return lines + [
            f'{metrics.RESIDENCY.name}{{{labels},residency="{tier}"}} {int(tier == self.residency)}'
            for tier in ("GPU", "CPU", "Unloaded")
        ]


class Replicas:
    """`serve` returns with the ports of control and metrics; both are there until `close`."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.all = replicas
        self._by_ip = {replica.ip: replica for replica in replicas}
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(self, trusted_pem: bytes) -> tuple[int, int]:
        tls = server_context(Identity.make("replicas"), [ssl.PEM_cert_to_DER_cert(trusted_pem.decode())])
        control = await asyncio.start_server(
            self._connection,
            "0.0.0.0",  # noqa: S104 - one server for many addresses of loopback
            0,
            ssl=tls,
            backlog=512,
            # Who listens on one of these addresses alone is preferred there.
            reuse_port=True,
        )
        plain = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._servers += [control, plain]
        port = control.sockets[0].getsockname()[1]
        for each in self.all:
            if each.bad and each.bad.answers_before_tls:
                self._servers.append(await asyncio.start_server(self._connection, each.ip, port, reuse_port=True))
        return port, plain.sockets[0].getsockname()[1]

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for writer, task in list(self._open.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        # A transport that was aborted closes its socket in a later turn of the loop.
        await asyncio.sleep(0.1)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server's callback runs as one
        self._open[writer] = task
        address = writer.get_extra_info("sockname")[0]
        replica = self._by_ip.get(address)
        wrong = replica.bad if replica else None
        try:
            if wrong and wrong.answers_before_tls:
                return await bad.before_tls(wrong, writer)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line[:15] == "content-length:"), 0)
            body = json.loads(await reader.readexactly(length)) if length else {}
            method, path, _ = head.split("\r\n", 1)[0].split(" ")
            if wrong and wrong.answers_wrongly:
                return await bad.answer(wrong, writer)
            kind, content = self._answer(method, path, body, address)
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            writer.write(content)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            # Cancelled by `close`, where nobody waits for it.
            pass
        finally:
            self._open.pop(writer, None)
            writer.close()

    def _answer(self, method: str, path: str, body: dict[str, Any], ip: str) -> tuple[str, bytes]:
        if path.startswith("/metrics/"):
            namespace = path.removeprefix("/metrics/")
            own = (each for each in self.all if each.namespace == namespace and each.has_pod)
            lines = [line for each in own for line in each.exposition()]
            return "text/plain; version=0.0.4", "\n".join([*lines, ""]).encode()
        replica = self._by_ip[ip]
        if method == "GET":
            return "application/json", json.dumps({"models": [replica.snapshot()]}).encode()
        if body["podUID"] != replica.uid:
            raise OSError(f"an order for {body['podUID']} reached {replica.pod}")
        if path.endswith("/residency"):
            replica.take(body)
        return "application/json", json.dumps(replica.snapshot()).encode()
