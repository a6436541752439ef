"""Whatever Prometheus answers, the page has its objects, and a sentence where figures can't be had: never a 500."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from dormouse_console.app import create_app
from dormouse_console.kube import Caller
from dormouse_console.timeseries import TimeSeries
from dormouse_prometheus.api import PrometheusApi
from fastapi import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MODEL: dict[str, Any] = {
    "metadata": {"namespace": "speech", "name": "tts", "uid": "uid", "generation": 1, "resourceVersion": "1"},
    "spec": {"selector": {"matchLabels": {"app": "tts"}}, "model": "tts", "policy": {"offloadAfterSeconds": 600}},
}
POD = {"metadata": {"namespace": "speech", "name": "tts-0", "uid": "pod"}, "status": {"phase": "Running"}}
PATHS = (
    "/api/fleet",
    "/api/fleet?namespace=speech",
    "/api/savings?range=1h",
    "/api/models/speech/tts/replicas?range=1h",
)
LABELS = {"namespace": "speech", "pod": "tts-0", "model": "tts", "name": "tts", "residency": "GPU"}
NAMES = (
    "dormouse_model_in_flight_requests",
    "dormouse_model_idle_since_timestamp_seconds",
    "dormouse_model_last_transition_timestamp_seconds",
    "dormouse_model_residency",
    "dormouse_model_gpu_memory_bytes",
    "dormouse_model_released_bytes",
    "dormouse_model_host_memory_bytes",
    "dormouse_model_restore_estimate_seconds",
    "dormouse_gpu_info",
)


class SomeBody:
    """May list and see everything there is: one ManagedModel and its pod."""

    local = False

    def of(self, request: Request) -> Caller:
        def answer(asked: httpx.Request) -> httpx.Response:
            if "reviews" in asked.url.path:
                return httpx.Response(200, json={"status": {"allowed": True, "userInfo": {"username": "x"}}})
            if asked.url.path.endswith("/tts"):
                return httpx.Response(200, json=MODEL)
            return httpx.Response(200, json={"items": [POD if asked.url.path.endswith("/pods") else MODEL]})

        http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://api")
        return Caller(http, "token")


async def looked_at(path: str, prometheus: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.MockTransport(prometheus)) as behind:
        app = create_app(SomeBody(), TimeSeries(PrometheusApi(behind, "http://prometheus")))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as http:
            return await http.get(path)


async def is_borne(prometheus: Callable[[httpx.Request], httpx.Response]) -> None:
    for path in PATHS:
        answer = await looked_at(path, prometheus)
        assert answer.status_code == 200, (path, answer.text)
        # As browsers read it: without NaN and Infinity.
        json.loads(answer.text, parse_constant=pytest.fail)


def success(kind: str, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


def samples(value: str, at: Any, labels: dict[str, Any] | None = None) -> Callable[[httpx.Request], httpx.Response]:
    """Each figure of one replica is `value` at `at`, twice."""

    def answer(request: httpx.Request) -> httpx.Response:
        each = [{"__name__": name, **LABELS, **(labels or {})} for name in NAMES] * 2
        if "query_range" in request.url.path:
            return httpx.Response(
                200, content=success("matrix", [{"metric": one, "values": [[at, value]] * 3} for one in each])
            )
        return httpx.Response(200, content=success("vector", [{"metric": one, "value": [at, value]} for one in each]))

    return answer


# Steady names: several processes share these tests.
@pytest.mark.parametrize("at", ["now", 0, -1, 1e18, -1e18, 1e308, 10**400, "NaN", None, math.nan])
@pytest.mark.parametrize("value", ["1", "NaN", "+Inf", "-Inf", "1e308", "-1e308", "1" + "0" * 400, "x", "", "1_0"])
async def test_numbers_out_of_all_bounds(value: str, at: Any) -> None:
    await is_borne(samples(value, time.time() if at == "now" else at))


@pytest.mark.parametrize(
    "labels",
    [
        {"residency": "Moon"},
        {"namespace": "other"},
        {"pod": 7},
        {"model": None},
        {"model": "x" * 100_000},
        {"pod": "\x1b[31m\n"},
        {"device": ["sim"]},
    ],
    ids=lambda labels: next(iter(labels)) + str(next(iter(labels.values())))[:8].strip().replace("\x1b", ""),
)
async def test_labels_that_nobody_expects(labels: dict[str, Any]) -> None:
    await is_borne(samples("1", time.time(), labels))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"1", b"[" * 100_000, b"\xff\xfe", b"<html>", success("scalar", [1, "1"])]
    + [success("vector", wrong) for wrong in (None, {}, 7, [None], [7], [{}], [{"metric": 1}])]
    + [success("vector", [{"metric": {}, "value": wrong}]) for wrong in (None, [], [1], 7, [1, 2], [1, "2", 3])]
    + [success("matrix", [{"metric": {}, "values": wrong}]) for wrong in (None, [7], [[1]], {}, [[None, None]])]
    + [b'{"status":"success"}', b'{"status":"success","data":null}', b'{"status":7,"error":[{}]}']
    + [b'{"status":"success","warnings":7,"data":{"resultType":"vector","result":[]}}'],
    ids=lambda body: body[:60].decode(errors="replace"),
)
@pytest.mark.parametrize("status", [200, 422, 503])
async def test_bodies_that_are_no_answer(status: int, body: bytes) -> None:
    await is_borne(lambda request: httpx.Response(status, content=body))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("GPU"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
LABEL_SETS = st.dictionaries(
    st.sampled_from([*LABELS, "__name__", "device"]), st.sampled_from([*NAMES, "sim"]) | ANYTHING
)
ENTRIES = st.fixed_dictionaries(
    {"metric": st.just({**LABELS, "__name__": NAMES[0]}) | LABEL_SETS},
    optional={
        "value": ANYTHING | st.tuples(st.floats(), st.floats().map(str)),
        "values": ANYTHING | st.lists(st.tuples(st.floats(), st.floats().map(str)), max_size=5),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(vector=st.lists(ENTRIES, max_size=4) | ANYTHING, matrix=st.lists(ENTRIES, max_size=4) | ANYTHING)
async def test_any_json_at_all(vector: Any, matrix: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        kind, result = ("matrix", matrix) if "query_range" in request.url.path else ("vector", vector)
        return httpx.Response(200, content=success(kind, result))

    await is_borne(answer)


async def test_half_an_answer_and_one_that_breaks_off() -> None:
    whole = success("vector", [])
    await is_borne(lambda request: httpx.Response(200, content=whole[: len(whole) // 2]))

    def breaks(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    await is_borne(breaks)
