"""The idle signal from the sidecars themselves, for when Prometheus can't be had for long; opt-in.

It asks each pod instead of one Prometheus, so it costs more and needs a way to port 9743 of every pod. What a
pod says is judged by the same rules as what Prometheus says, and a pod that says nothing is unknown.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import httpx
from dormouse_contract.idleness import EXPORTED, Exported, IdleSignal, join_exported
from dormouse_contract.ports import Port
from dormouse_prometheus.numbers import number
from dormouse_prometheus.together import together
from prometheus_client.parser import text_string_to_metric_families

from ..cluster.pods import Pod

POD_SECONDS = 5.0
# For the whole fleet: a pass waits for it, and liveness for the passes.
FLEET_SECONDS = 30.0
CONCURRENCY = 64
# A model is about 8 KB of text, histograms included.
MAX_ANSWER_BYTES = 1 << 20
HTTP_TIMEOUT = httpx.Timeout(connect=2.0, read=POD_SECONDS, write=2.0, pool=FLEET_SECONDS)

_WANTED = tuple(metric.name for metric in EXPORTED)


class DirectReader:
    """`transport` replaces the network in tests. `clock` is Unix seconds, and `monotonic` what ages are made of."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Pod]],
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        port: int = Port.SIDECAR,
        fleet_seconds: float = FLEET_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._pods = pods
        self._clock = clock
        self._monotonic = monotonic
        self._port = port
        self._fleet_seconds = fleet_seconds
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=HTTP_TIMEOUT,
            limits=httpx.Limits(max_keepalive_connections=0, max_connections=CONCURRENCY),
            headers={"Connection": "close", "User-Agent": "dormouse-operator", "Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def read(self) -> IdleSignal:
        """Never raises for what a pod does."""
        pods = [pod for pod in self._pods() if pod.alive and pod.has_sidecar and pod.ip]
        # Where the time does not suffice for all, it should not be the same pods each time.
        random.shuffle(pods)
        waiting = iter(pods)
        texts: dict[Pod, tuple[str, float]] = {}
        faults = {pod.key: "it was not asked in time" for pod in pods}

        async def ask() -> None:
            for pod in waiting:
                try:
                    async with asyncio.timeout(POD_SECONDS):
                        texts[pod] = (await self._get(pod), self._monotonic())
                except (httpx.HTTPError, OSError, TimeoutError, ValueError) as error:
                    faults[pod.key] = f"it gave no metrics ({_why(error)})"

        try:
            async with asyncio.timeout(self._fleet_seconds):
                await together(*(ask() for _ in range(min(CONCURRENCY, len(pods)))))
        except TimeoutError:
            pass
        return self._signal(texts, faults)

    async def _get(self, pod: Pod) -> str:
        host = f"[{pod.ip}]" if ":" in (pod.ip or "") else pod.ip
        async with self._http.stream("GET", f"http://{host}:{self._port}/metrics") as response:
            if response.status_code != 200:
                raise ValueError(f"HTTP {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise ValueError(f"more than {MAX_ANSWER_BYTES} bytes")
        return body.decode()

    def _signal(self, texts: dict[Pod, tuple[str, float]], faults: dict[tuple[str, str], str]) -> IdleSignal:
        """All of it on our own clock, so a pod that answered early is older than one that answered last."""
        now, monotonic_now = self._clock(), self._monotonic()
        exported: list[Exported] = []
        for pod, (text, answered_at) in texts.items():
            try:
                found = list(_samples(text))
            except (ValueError, KeyError, IndexError, OverflowError):
                faults[pod.key] = "its metrics are not in Prometheus' format"
                continue
            faults.pop(pod.key, None)
            taken_at = now - (monotonic_now - answered_at)
            for name, labels, value in found:
                exported.append((name, {**labels, "namespace": pod.namespace, "pod": pod.name}, value, taken_at))
        return replace(join_exported(exported, now).signal(), silent=faults)


def _samples(text: str) -> Iterable[tuple[str, Mapping[str, str], float]]:
    """Name, labels and value; only the lines that we need are given to the parser, which is slow."""
    lines = [line for line in text.split("\n") if line.startswith(_WANTED)]
    for line in lines:
        _check_number(line)
    for family in text_string_to_metric_families("".join(f"{line}\n" for line in lines)):
        for sample in family.samples:
            if sample.name in _WANTED:
                yield sample.name, sample.labels, float(sample.value)


def _check_number(line: str) -> None:
    """The parser takes whatever Python does. What follows the labels has no brace, and has none of their spaces."""
    said = line.rpartition("}")[2].split(" ") if "{" in line else line.split(" ")[1:]
    number(next(filter(None, said), ""))


def _why(error: Exception) -> str:
    return str(error) if type(error) is ValueError else type(error).__name__
