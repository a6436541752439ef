"""A Prometheus that scrapes the simulated pods and answers instant queries, well or badly.

It knows the few forms of PromQL that the operator asks: a metric by name, its `timestamp()`, a comparison.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from .replica import SimPod
from .virtual_time import unix_now

LOOKBACK_SECONDS = 300.0
_FORM = re.compile(r"^(timestamp\()?([a-z_]+)(?:\{[^}]*\})?\)?(?:\s*(==|>)\s*([0-9.]+))?$")
Samples = list[tuple[str, dict[str, str], float]]


@dataclass
class SimPrometheus:
    """`mood`: ok, down, slow, html, 401, 429, 500. `scraping` False: it answers, and its figures grow old."""

    pods: Callable[[], Iterable[SimPod]]
    scrape_interval: float
    skew: float = 0.0
    mood: str = "ok"
    scraping: bool = True
    # None is the staleness marker of a scrape that failed.
    series: dict[str, deque[tuple[float, Samples | None]]] = field(default_factory=dict)
    last_good: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.scrape_interval)
            alive = {pod.uid: pod for pod in self.pods() if pod.alive}
            for uid in self.series.keys() - alive.keys():
                del self.series[uid]
                self.last_good.pop(uid, None)
            if self.scraping:
                for pod in alive.values():
                    self._scrape(pod)

    def _scrape(self, pod: SimPod) -> None:
        kept = self.series.setdefault(pod.uid, deque(maxlen=3))
        kept.append((unix_now() + self.skew, pod.exposition() if pod.scraped else None))
        if pod.scraped and not pod.nan and not pod.doubled:
            self.last_good[pod.uid] = unix_now()

    def vector(self, promql: str, at: float) -> list[tuple[dict[str, str], float]]:
        if promql.startswith("count("):
            # Of series without a namespace: there are none.
            return []
        form = _FORM.match(promql.strip())
        if form is None:
            raise AssertionError(f"the simulated Prometheus does not know this form: {promql}")
        stamped, name, operator, operand = form.groups()
        found: list[tuple[dict[str, str], float]] = []
        for kept in self.series.values():
            time, samples = next(((t, s) for t, s in reversed(kept) if t <= at), (0.0, None))
            if samples is None or at - time > LOOKBACK_SECONDS:
                continue
            for metric, labels, value in samples:
                if metric != name:
                    continue
                if (operator == "==" and value != float(operand)) or (operator == ">" and not value > float(operand)):
                    continue
                found.append((labels, time if stamped else value))
        return found


class PrometheusTransport(httpx.AsyncBaseTransport):
    """`answered` is called when the operator got figures."""

    def __init__(self, prometheus: SimPrometheus, answered: Callable[[], None]) -> None:
        self._prometheus, self._answered = prometheus, answered

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        prometheus = self._prometheus
        match prometheus.mood:
            case "down":
                raise httpx.ConnectError("refused", request=request)
            case "slow":
                await asyncio.sleep(30)
            case "html":
                return httpx.Response(200, text="<html>log in</html>", headers={"content-type": "text/html"})
            case "ok":
                pass
            case code:
                return httpx.Response(int(code), text="no")
        await request.aread()
        asked = request.url.params or httpx.QueryParams(request.content.decode())
        at = float(asked["time"]) if "time" in asked else unix_now() + prometheus.skew
        result = [
            {"metric": labels, "value": [at, "NaN" if math.isnan(value) else repr(value)]}
            for labels, value in prometheus.vector(asked["query"], at)
        ]
        self._answered()
        body = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return httpx.Response(200, content=json.dumps(body))
