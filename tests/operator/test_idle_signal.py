"""What Prometheus may answer, and that nothing but a whole, fresh and plain signal is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from dormouse_operator.idle_signal import IdleSignal, SignalState, build, read_idle_signal
from dormouse_operator.prometheus_api import PrometheusApi, Vector

from .objects import NOW, QUERIES, labels, nan, signal

KEY = ("speech", "tts-0", "tts")


def state(seen: IdleSignal, fresh_for: float = 30) -> SignalState:
    verdict = seen.see(KEY, fresh_for)
    if verdict.state is not SignalState.FRESH:
        assert not verdict.observation.idleness_known
        assert verdict.observation.unknown_because
    return verdict.state


def test_a_fresh_signal_is_an_observation() -> None:
    seen = signal(age=4, last_transition=NOW - 500).see(KEY, 30)
    assert seen.state is SignalState.FRESH
    assert seen.observation.in_flight == 0
    assert seen.observation.idle_since == NOW - 100
    assert seen.observation.resident_since == NOW - 500
    assert seen.observation.signal_age_seconds == 4


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(signal("tts-1"), SignalState.MISSING, id="another pod"),
        pytest.param(IdleSignal(), SignalState.MISSING, id="empty"),
        pytest.param(IdleSignal(failure="down"), SignalState.PROMETHEUS_UNAVAILABLE, id="down"),
        pytest.param(signal(age=31), SignalState.STALE, id="stale"),
        pytest.param(signal(sampled_at=nan), SignalState.STALE, id="no age"),
        pytest.param(signal(idle_since=nan), SignalState.INVALID, id="NaN"),
        pytest.param(signal(idle_since=-5), SignalState.INVALID, id="negative"),
        pytest.param(signal(in_flight=-1), SignalState.INVALID, id="negative in flight"),
        pytest.param(signal(in_flight=float("inf")), SignalState.INVALID, id="infinite"),
        pytest.param(signal(idle_since=0), SignalState.INVALID, id="in use and not"),
        pytest.param(signal(residency="Moon"), SignalState.INVALID, id="unknown tier"),
    ],
)
def test_what_is_not_certain_is_unknown(seen: IdleSignal, expected: SignalState) -> None:
    assert state(seen) is expected


@pytest.mark.parametrize("lacking", ["in_flight", "idle_since", "sampled_at"])
def test_a_metric_that_lacks_makes_the_replica_unknown(lacking: str) -> None:
    whole = (labels("tts-0", "tts"), NOW - 1 if lacking != "in_flight" else 0.0)
    answers = {name: Vector(NOW, () if name == lacking else (whole,)) for name in QUERIES}
    answers["in_flight"] = Vector(NOW, () if lacking == "in_flight" else ((whole[0], 0.0),))
    made = build(Vector(NOW, ((labels("tts-0", "tts", residency="GPU"), 1.0),)), answers)
    assert state(made) in (SignalState.MISSING, SignalState.STALE)


def test_a_series_given_twice_is_believed_only_when_both_agree() -> None:
    def twice(second: float) -> IdleSignal:
        one = signal()
        assert one.readings
        base = {
            "in_flight": 0.0,
            "idle_since": NOW - 100,
            "sampled_at": NOW - 1,
            "last_transition": 0.0,
            "released": 0.0,
            "gpu_memory": 1.0,
        }
        answers = {
            name: Vector(NOW, ((labels("tts-0", "tts"), base[name]),) if name in base else ()) for name in QUERIES
        }
        doubled = ((labels("tts-0", "tts", job="a"), NOW - 100), (labels("tts-0", "tts", job="b"), second))
        answers["idle_since"] = Vector(NOW, doubled)
        return build(Vector(NOW, ((labels("tts-0", "tts", residency="GPU"), 1.0),)), answers)

    assert state(twice(NOW - 100)) is SignalState.FRESH
    assert state(twice(NOW - 5)) is SignalState.INVALID


def test_two_tiers_at_once_are_unknown() -> None:
    both = tuple((labels("tts-0", "tts", residency=tier), 1.0) for tier in ("GPU", "CPU"))
    made = build(Vector(NOW, both), {name: Vector(NOW, ()) for name in QUERIES})
    assert state(made) is SignalState.INVALID


def test_series_without_pod_labels_are_named_in_the_reason() -> None:
    bare = ({"model": "tts", "residency": "GPU"}, 1.0)
    made = build(Vector(NOW, (bare,)), {name: Vector(NOW, ()) for name in QUERIES})
    assert "lack the labels namespace and pod" in made.see(KEY, 30).observation.unknown_because


def vector(*samples: tuple[dict[str, str], float]) -> str:
    result = [{"metric": metric, "value": [NOW, str(value)]} for metric, value in samples]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


Answer = Callable[[httpx.Request], httpx.Response]


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(refuse, "can't be reached", id="down"),
        pytest.param(lambda _: httpx.Response(401, text="no"), "credentials", id="401"),
        pytest.param(lambda _: httpx.Response(429, json={"status": "error"}), "429", id="429"),
        pytest.param(lambda _: httpx.Response(200, html="<html>"), "not its API", id="HTML"),
        pytest.param(lambda _: httpx.Response(502, html="<html>"), "not its API", id="a proxy's page"),
        pytest.param(lambda _: httpx.Response(200, json={"status": "success"}), "no instant vector", id="no data"),
        pytest.param(lambda _: httpx.Response(200, json=[1]), "HTTP 200", id="a list"),
        pytest.param(
            lambda _: httpx.Response(422, json={"status": "error", "error": "too many"}), "too many", id="422"
        ),
    ],
)
async def test_whatever_prometheus_does_nothing_is_known_and_the_reason_says_why(answer: Answer, words: str) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        seen = await read_idle_signal(PrometheusApi(client, "http://prometheus"))
    assert words in seen.failure
    assert state(seen) is SignalState.PROMETHEUS_UNAVAILABLE


async def test_a_prometheus_that_hangs_is_given_up() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
        seen = await read_idle_signal(PrometheusApi(client, "http://prometheus", timeout_seconds=0.05))
    assert "no answer within" in seen.failure


async def test_one_metric_that_fails_makes_all_unknown() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "in_flight" in request.url.params["query"]:
            return httpx.Response(503, text="overload")
        return httpx.Response(200, text=vector((labels("tts-0", "tts", residency="GPU"), 1)))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        seen = await read_idle_signal(PrometheusApi(client, "http://prometheus"))
    assert seen.failure


async def test_all_queries_look_at_one_instant_of_prometheus_own_clock() -> None:
    times: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        times.append(request.url.params.get("time"))
        return httpx.Response(200, text=vector((labels("tts-0", "tts", residency="GPU"), 1)))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await read_idle_signal(PrometheusApi(client, "http://prometheus"))
    assert times[0] is None
    assert {float(each or 0) for each in times[1:]} == {NOW}
