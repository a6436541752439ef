"""Floods, as a reader of Prometheus meets them: by bytes, by Prometheus' own limits, by time, and in any column."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import httpx
import pytest
from dormouse_contract import metrics
from dormouse_contract.idleness import IdleSignal, SignalState
from dormouse_operator.idle_signal.query import SignalReader
from dormouse_operator.idle_signal.source import SignalSource
from dormouse_operator.idle_signal.wanted import Wanted
from dormouse_prometheus.api import PrometheusApi

from .objects import NOW

NAMESPACES = tuple(f"team-{number}" for number in range(8))
TOO_MANY = "query processing would load too many samples into memory in query execution"
Flood = Callable[[], Awaitable[httpx.Response]]


async def too_many_bytes() -> httpx.Response:
    return httpx.Response(200, content=b" " * (9 << 20))


async def too_many_samples() -> httpx.Response:
    return httpx.Response(422, json={"status": "error", "errorType": "execution", "error": TOO_MANY})


async def timed_out() -> httpx.Response:
    return httpx.Response(503, json={"status": "error", "errorType": "timeout", "error": "query timed out"})


async def silence() -> httpx.Response:
    await asyncio.sleep(60)
    raise AssertionError("it was waited for")


FLOODS = {
    "more bytes than we read": too_many_bytes,
    "more samples than Prometheus loads": too_many_samples,
    "a time-out of Prometheus": timed_out,
}


class Cluster:
    """Answers for a pod of each namespace that is idle for 100 s. What `noisy` says can't be answered."""

    def __init__(
        self,
        flood: Flood,
        noisy: Iterable[tuple[str, str]] = (),
        only: str = "",
        selected: tuple[str, ...] = ("tts-0",),
        series: int = 1,
    ) -> None:
        """noisy: namespace and pod. only: a part of the query that floods, of all when empty."""
        self.flood, self.noisy, self.only = flood, set(noisy), only
        self.selected = selected
        self.series = series
        self.queries: list[str] = []
        self.instants: set[str | None] = set()
        self.refused = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.params or httpx.QueryParams(request.content.decode())
        query = asked["query"]
        self.queries.append(query)
        self.instants.add(asked.get("time"))
        pods = {
            (namespace, pod)
            for namespace in NAMESPACES
            for pod in ("tts-0", "stranger")
            if self._selects(query, namespace, pod)
        }
        if query.startswith("count by"):
            return self._counted(query, pods)
        if self.only in query and pods & self.noisy:
            self.refused += 1
            return await self.flood()
        return self._answer(query, {pod for pod in pods if pod not in self.noisy and pod[1] == "tts-0"})

    @staticmethod
    def _selects(query: str, namespace: str, pod: str) -> bool:
        for matchers in re.findall(r"\{([^}]*)\}", query):
            named = dict(re.findall(r'(\w+)=~?"([^"]*)"', matchers))
            if namespace in named["namespace"].split("|") and pod in named.get("pod", pod).split("|"):
                return True
        return False

    def _counted(self, query: str, pods: Iterable[tuple[str, str]]) -> httpx.Response:
        """Few of each, so that it takes halves: what makes an answer large may be the length of its labels."""
        labels = ("namespace", "pod") if "(namespace, pod)" in query else ("namespace",)
        sizes = Counter(pod[: len(labels)] for pod in pods for _ in range(self.series if pod in self.noisy else 1))
        result = [
            {"metric": dict(zip(labels, unit, strict=True)), "value": [NOW, str(count)]}
            for unit, count in sizes.items()
        ]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})

    @staticmethod
    def _answer(query: str, pods: Iterable[tuple[str, str]]) -> httpx.Response:
        value = {metrics.IDLE_SINCE.name: NOW - 100, "timestamp(": NOW - 1}
        figure = next((value for name, value in reversed(value.items()) if name in query), 0.0)
        tier = {"residency": "GPU"} if metrics.RESIDENCY.name in query else {}
        result = [
            {
                "metric": {"namespace": namespace, "pod": pod, "model": "tts", **tier},
                "value": [NOW, "1" if tier else str(figure)],
            }
            for namespace, pod in sorted(pods)
            if "> 0" not in query and "count(" not in query
        ]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})

    def wanted(self) -> Wanted:
        return Wanted(dict.fromkeys(NAMESPACES, 1), lambda _: self.selected)


async def look(cluster: Cluster, looks: int = 1, timeout_seconds: float = 10.0) -> list[IdleSignal]:
    loop = asyncio.get_running_loop()
    reader = SignalReader(clock=lambda: NOW, monotonic=loop.time, look_seconds=2 * timeout_seconds)
    async with httpx.AsyncClient(transport=httpx.MockTransport(cluster)) as client:
        api = PrometheusApi(client, "http://prometheus", timeout_seconds=timeout_seconds)
        return [await reader.read(api, cluster.wanted()) for _ in range(looks)]


def states(signal: IdleSignal) -> dict[str, SignalState]:
    return {name: signal.see((name, "tts-0", "tts"), 30).state for name in NAMESPACES}


def all_known_but(*namespaces: str) -> dict[str, SignalState]:
    return {name: SignalState.TOO_LARGE if name in namespaces else SignalState.FRESH for name in NAMESPACES}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("only", ["", metrics.IN_FLIGHT.name, "timestamp(", "> 0"])
async def test_a_stranger_that_floods_takes_nobodys_signal(flood: Flood, only: str) -> None:
    cluster = Cluster(flood, {("team-3", "stranger")}, only)
    for signal in await look(cluster, looks=3):
        assert not signal.failure
        assert states(signal) == all_known_but()
        assert signal.too_large == {"team-3"}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("only", ["", metrics.RELEASED.name])
async def test_a_replica_that_floods_is_unknown_and_alone_with_it(flood: Flood, only: str) -> None:
    cluster = Cluster(flood, {("team-3", "tts-0"), ("team-4", "tts-0")}, only)
    for signal in await look(cluster, looks=3):
        assert states(signal) == all_known_but("team-3", "team-4")
        assert signal.too_large == {"team-3", "team-4"}
        seen = signal.see(("team-3", "tts-0", "tts"), 30)
        assert not seen.observation.idleness_known
        assert "pod tts-0 of namespace team-3" in seen.observation.unknown_because
        assert "288 KiB" in seen.observation.unknown_because


async def test_series_that_can_be_counted_are_asked_for_once_in_vain() -> None:
    cluster = Cluster(too_many_bytes, {("team-3", "stranger")}, series=160_000)
    (signal,) = await look(cluster)
    assert states(signal) == all_known_but()
    assert signal.too_large == {"team-3"}
    assert cluster.refused == 1


async def test_when_the_time_of_a_look_is_over_the_others_are_known_all_the_same() -> None:
    """What takes it is to find the noisy one; the next look goes on with that."""
    cluster = Cluster(too_many_bytes, {("team-3", "stranger")})
    asked = 0

    def monotonic() -> float:
        nonlocal asked
        asked += 1
        return float(asked)

    reader = SignalReader(clock=lambda: NOW, monotonic=monotonic, look_seconds=4)
    async with httpx.AsyncClient(transport=httpx.MockTransport(cluster)) as client:
        api = PrometheusApi(client, "http://prometheus")
        first = await reader.read(api, cluster.wanted())
        unknown = {name for name, state in states(first).items() if not state.known}
        assert "team-3" in unknown < set(NAMESPACES)
        assert "in this look" in first.see(("team-3", "tts-0", "tts"), 30).observation.unknown_because
        for _ in range(3):
            last = await reader.read(api, cluster.wanted())
    assert states(last) == all_known_but()


async def test_all_parts_are_of_one_instant() -> None:
    cluster = Cluster(too_many_bytes, {("team-0", "tts-0"), ("team-5", "stranger")})
    await look(cluster)
    assert cluster.instants == {None, repr(NOW)}
    # Until the first answer nobody knows the instant.
    assert "sampled_at" not in cluster.queries[0]


async def test_a_look_after_the_one_that_found_the_flood_asks_for_nothing_in_vain() -> None:
    cluster = Cluster(too_many_bytes, {("team-3", "stranger")})
    await look(cluster)
    assert cluster.refused > 0
    again = Cluster(too_many_bytes, {("team-3", "stranger")})
    await look(again, looks=3)
    assert again.refused == cluster.refused


async def test_a_namespace_that_makes_prometheus_slow_is_found_and_the_others_are_known_meanwhile() -> None:
    cluster = Cluster(silence, {("team-3", "tts-0")})
    unknown = [
        {name for name, state in states(signal).items() if not state.known}
        for signal in await look(cluster, looks=8, timeout_seconds=0.3)
    ]
    # A look that knows nobody is one in which Prometheus is away.
    assert unknown[-1] == {"team-3"}
    assert all(later <= earlier for earlier, later in itertools.pairwise(unknown))


@pytest.mark.parametrize("flood", [too_many_samples, timed_out], ids=["samples", "time"])
async def test_a_prometheus_that_can_answer_nobody_is_what_is_named(flood: Flood) -> None:
    cluster = Cluster(flood, {(name, "tts-0") for name in NAMESPACES})
    (signal,) = await look(cluster)
    assert signal.failure
    assert signal.failure_state is SignalState.PROMETHEUS_UNAVAILABLE
    assert not signal.too_large


async def test_when_each_replica_floods_each_is_named() -> None:
    (signal,) = await look(Cluster(too_many_bytes, {(name, "tts-0") for name in NAMESPACES}))
    assert not signal.failure
    assert states(signal) == all_known_but(*NAMESPACES)


async def test_no_part_that_was_answered_for_another_instant_is_believed() -> None:
    cluster = Cluster(too_many_bytes, {("team-3", "stranger")})

    async def cached(request: httpx.Request) -> httpx.Response:
        answer = await cluster(request)
        late = "team-7" in str(request.url) and metrics.RESIDENCY.name in str(request.url)
        return httpx.Response(answer.status_code, text=answer.text.replace(str(NOW), str(NOW - 40))) if late else answer

    reader = SignalReader(clock=lambda: NOW, monotonic=asyncio.get_running_loop().time)
    async with httpx.AsyncClient(transport=httpx.MockTransport(cached)) as client:
        signal = await reader.read(PrometheusApi(client, "http://prometheus"), cluster.wanted())
    assert "the instant that was asked for" in signal.failure


async def test_without_managed_models_nothing_is_asked() -> None:
    cluster = Cluster(too_many_bytes)
    reader = SignalReader(clock=lambda: NOW, monotonic=asyncio.get_running_loop().time)
    async with httpx.AsyncClient(transport=httpx.MockTransport(cluster)) as client:
        signal = await reader.read(PrometheusApi(client, "http://prometheus"), Wanted())
    assert not signal.failure
    assert [query for query in cluster.queries if "count(" not in query] == []


async def test_a_namespace_that_was_not_asked_for_yet_says_so() -> None:
    (signal,) = await look(Cluster(too_many_bytes))
    seen = signal.see(("brand-new", "tts-0", "tts"), 30)
    assert seen.state is SignalState.MISSING
    assert "was not asked for namespace brand-new yet" in seen.observation.unknown_because


async def test_a_flood_that_comes_and_goes_is_in_the_log_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now, looks = [0.0], iter(range(1000))

    async def ask() -> IdleSignal:
        number = next(looks)
        return IdleSignal(too_large=frozenset({f"team-{number % 3}"}) if number % 2 else frozenset())

    async def never() -> IdleSignal:
        raise AssertionError("Prometheus answers")

    source = SignalSource(ask, never, direct_after_seconds=None, monotonic=lambda: now[0])
    for now[0] in range(0, 1000, 5):
        await source.read()
    logged = [record for record in caplog.records if "More series" in record.message]
    assert 2 <= len(logged) <= 1 + 1000 / 60
    assert "team-1" in logged[0].getMessage()
    assert "Limit the scrape" in json.dumps(logged[0].getMessage())
