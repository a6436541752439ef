"""What Prometheus may answer, and that nothing but a whole, fresh and plain signal is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from dormouse_contract.idleness import IdleSignal, SignalState, build
from dormouse_prometheus.answers import Vector
from dormouse_prometheus.api import MAX_ANSWER_BYTES, PrometheusApi

from .objects import NOW, QUERIES, labels, nan, read_idle_signal, signal

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
        pytest.param(signal(idle_since=NOW + 62), SignalState.INVALID, id="idle since tomorrow"),
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
            "released_bytes": 0.0,
            "gpu_memory_bytes": 1.0,
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


def broken_off(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


def login(_: httpx.Request) -> httpx.Response:
    return httpx.Response(302, headers={"location": "https://sso.example/login?state=s3cret"})


def https(request: httpx.Request) -> httpx.Response:
    return httpx.Response(308, headers={"location": str(request.url.copy_with(scheme="https"))})


DOWN, REFUSED, LATER = (
    SignalState.PROMETHEUS_UNAVAILABLE,
    SignalState.PROMETHEUS_UNAUTHORIZED,
    SignalState.PROMETHEUS_THROTTLED,
)
SHAPE = "no instant vector"
WHOLE = {"status": "success", "data": {"resultType": "vector", "result": []}}


def shaped(**data: object) -> Answer:
    return lambda _: httpx.Response(200, json={"status": "success", "data": data})


@pytest.mark.parametrize(
    ("answer", "words", "expected"),
    [
        pytest.param(refuse, "can't be reached", DOWN, id="down"),
        pytest.param(broken_off, "broke off", DOWN, id="reset"),
        pytest.param(lambda _: httpx.Response(401, text="no"), "credentials", REFUSED, id="401"),
        pytest.param(lambda _: httpx.Response(403, html="<html>"), "credentials", REFUSED, id="403"),
        pytest.param(login, "https://sso.example/login, a login page", REFUSED, id="302 to a login page"),
        pytest.param(https, "https://prometheus/api/v1/query; write that", DOWN, id="308 to https"),
        pytest.param(lambda _: httpx.Response(302), "HTTP 302", REFUSED, id="302 to nowhere"),
        pytest.param(lambda _: httpx.Response(429, text="slow down"), "come later (HTTP 429)", LATER, id="429"),
        pytest.param(lambda _: httpx.Response(503, headers={"retry-after": "9"}), "HTTP 503", LATER, id="503, later"),
        pytest.param(lambda _: httpx.Response(200, html="<html>"), "not its API", DOWN, id="HTML"),
        pytest.param(lambda _: httpx.Response(200), "not its API", DOWN, id="nothing"),
        pytest.param(lambda _: httpx.Response(200, text='{"status": "succ'), "not its API", DOWN, id="half a body"),
        pytest.param(lambda _: httpx.Response(502, html="<html>"), "not its API", DOWN, id="a proxy's page"),
        pytest.param(lambda _: httpx.Response(500, json={"error": "tsdb\nbroke"}), "tsdb\ufffdbroke", DOWN, id="500"),
        pytest.param(lambda _: httpx.Response(422, json={"error": "too many"}), "too many", DOWN, id="422"),
        pytest.param(lambda _: httpx.Response(200, json=[1]), "HTTP 200", DOWN, id="a list"),
        pytest.param(lambda _: httpx.Response(200, json={"status": "success"}), SHAPE, DOWN, id="no data"),
        pytest.param(shaped(resultType="matrix", result=[]), SHAPE, DOWN, id="a matrix"),
        pytest.param(shaped(resultType="vector", result=[7]), SHAPE, DOWN, id="numbers"),
        pytest.param(shaped(resultType="vector", result={"a": 1}), SHAPE, DOWN, id="a map"),
        pytest.param(
            shaped(resultType="vector", result=[{"metric": [], "value": [1, "1"]}]), SHAPE, DOWN, id="no labels"
        ),
        pytest.param(
            shaped(resultType="vector", result=[{"metric": {}, "value": [1, "much"]}]), SHAPE, DOWN, id="no number"
        ),
        pytest.param(shaped(resultType="vector", result=[{"metric": {}, "value": [1, None]}]), SHAPE, DOWN, id="null"),
    ],
)
async def test_whatever_prometheus_does_nothing_is_known_and_the_reason_says_why(
    answer: Answer, words: str, expected: SignalState
) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        seen = await read_idle_signal(PrometheusApi(client, "http://prometheus"), clock=lambda: NOW)
    assert words in seen.failure
    assert state(seen) is expected


async def test_a_prometheus_that_hangs_is_given_up() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
        seen = await read_idle_signal(
            PrometheusApi(client, "http://prometheus", timeout_seconds=0.05), clock=lambda: NOW
        )
    assert "no answer within" in seen.failure


async def test_one_metric_that_fails_makes_all_unknown() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "in_flight" in request.url.params["query"]:
            return httpx.Response(503, text="overload")
        return httpx.Response(200, text=vector((labels("tts-0", "tts", residency="GPU"), 1)))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        seen = await read_idle_signal(PrometheusApi(client, "http://prometheus"), clock=lambda: NOW)
    assert seen.failure


async def test_all_queries_look_at_one_instant_of_prometheus_own_clock() -> None:
    times: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        times.append(request.url.params.get("time"))
        return httpx.Response(200, text=vector((labels("tts-0", "tts", residency="GPU"), 1)))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await read_idle_signal(PrometheusApi(client, "http://prometheus"), clock=lambda: NOW)
    assert times[0] is None
    assert {float(each or 0) for each in times[1:]} == {NOW}


async def ask(
    answer: Callable[[httpx.Request], httpx.Response], clock: float = NOW, namespaces: tuple[str, ...] = ("speech",)
) -> IdleSignal:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await read_idle_signal(
            PrometheusApi(client, "http://prometheus"), namespaces=namespaces, clock=lambda: clock
        )


class Fleet:
    """Answers as Prometheus does for pods that are idle for 100 s and were scraped a second ago."""

    def __init__(self, *pods: str, warnings: tuple[str, ...] = (), **values: float) -> None:
        self.pods, self.warnings, self.queries = pods, warnings, list[str]()
        self.values = {"sampled_at": NOW - 1, "idle_since": NOW - 100, "gpu_memory_bytes": 1024.0} | values

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params.get("query") or dict(httpx.QueryParams(request.content.decode()))["query"]
        self.queries.append(query)
        metric = "sampled_at" if query.startswith("timestamp(") else query
        value = next((value for name, value in self.values.items() if name in metric), 0.0)
        tier = {"residency": "GPU"} if "residency" in query else {}
        one = 1.0 if tier else value
        samples = [] if "> 0" in query else [(labels(pod, "tts", **tier), one) for pod in self.pods]
        return httpx.Response(200, text=vector(*samples)[:-1] + f', "warnings": {json.dumps(self.warnings)}}}')


async def test_replicas_that_prometheus_knows_are_seen_and_others_are_not() -> None:
    seen = await ask(Fleet("tts-1"))
    assert seen.see(("speech", "tts-1", "tts"), 30).state is SignalState.FRESH
    assert state(seen) is SignalState.MISSING


async def test_an_incomplete_answer_is_good_for_those_in_it_and_says_why_for_the_others() -> None:
    seen = await ask(Fleet("tts-1", warnings=("store 10.0.0.7 is away",)))
    assert seen.see(("speech", "tts-1", "tts"), 30).state is SignalState.FRESH
    assert state(seen) is SignalState.PROMETHEUS_INCOMPLETE
    assert "store 10.0.0.7 is away" in seen.see(KEY, 30).observation.unknown_because


@pytest.mark.parametrize("skew", [-3600.0, -20.0, 0.0, 20.0, 3600.0])
async def test_age_is_by_prometheus_clock_whatever_the_operators_says(skew: float) -> None:
    fresh, stale = await ask(Fleet("tts-0"), NOW + skew), await ask(Fleet("tts-0", sampled_at=NOW - 31), NOW + skew)
    assert state(fresh) is SignalState.FRESH
    assert state(stale) is SignalState.STALE


@pytest.mark.parametrize("skew", [-3600.0, -20.0, 0.0, 20.0, 3600.0])
async def test_no_clock_makes_a_model_idle_for_longer_than_both_clocks_say(skew: float) -> None:
    now = NOW + skew
    observation = (await ask(Fleet("tts-0", last_transition=NOW - 100), now)).see(KEY, 30).observation
    assert observation.idle_since is not None
    assert observation.resident_since is not None
    expected = min(100.0, 100.0 + skew)
    assert now - observation.idle_since == pytest.approx(expected)
    assert now - observation.resident_since == pytest.approx(expected)


async def test_the_way_of_an_answer_is_not_taken_for_skew() -> None:
    observation = (await ask(Fleet("tts-0"), NOW + 0.4)).see(KEY, 30).observation
    assert observation.idle_since == NOW - 100


async def test_what_is_in_use_stays_in_use_under_skew() -> None:
    seen = await ask(Fleet("tts-0", in_flight=2, idle_since=0), NOW + 500)
    observation = seen.see(KEY, 30).observation
    assert (observation.in_flight, observation.idle_since) == (2, 0)


async def test_all_queries_ask_only_for_the_namespaces_that_are_watched() -> None:
    fleet = Fleet("tts-0")
    await ask(fleet, namespaces=("speech", 'a"b|c\\d.e'))
    assert len(fleet.queries) == 1 + len(QUERIES)
    for query in fleet.queries:
        assert '{namespace=~"a\\"b\\\\|c\\\\\\\\d\\\\.e|speech"}' in query


async def test_a_query_too_long_for_an_address_goes_into_the_body() -> None:
    methods: set[str] = set()
    fleet = Fleet("tts-0")

    def answer(request: httpx.Request) -> httpx.Response:
        methods.add(request.method)
        return fleet(request)

    seen = await ask(answer, namespaces=("speech", *(f"team-{number}" for number in range(500))))
    assert state(seen) is SignalState.FRESH
    assert methods == {"POST"}


async def test_an_answer_for_another_instant_is_not_believed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        text = Fleet("tts-0")(request).text
        return httpx.Response(200, text=text.replace(str(NOW), str(NOW - 40)) if "time" in request.url.params else text)

    assert "the instant that was asked for" in (await ask(answer)).failure


async def test_a_label_that_is_no_text_names_nobody() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=Fleet("tts-0")(request).text.replace('"speech"', '["speech"]'))

    seen = await ask(answer)
    assert not seen.readings
    assert seen.unlabelled == 1


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 20
            yield b" " * (1 << 20)

    seen = await ask(lambda _: httpx.Response(200, content=endless()))
    assert "and was not read to its end" in seen.failure
    assert sent < MAX_ANSWER_BYTES + (4 << 20)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": "99999999999999"}, 300),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "soon"}, 30),
        ({}, 30),
        ({"date": "Mon, 05 Jan 2026 10:00:00 GMT", "retry-after": "Mon, 05 Jan 2026 10:01:30 GMT"}, 90),
        ({"date": "yesterday", "retry-after": "Mon, 05 Jan 2026 10:01:30 GMT"}, 30),
    ],
    ids=["seconds", "for ever", "at once", "words", "nothing", "a date", "a date without a clock"],
)
async def test_a_rest_that_is_asked_for_is_given_within_reason(headers: dict[str, str], seconds: float) -> None:
    assert (await ask(lambda _: httpx.Response(429, headers=headers))).retry_after_seconds == seconds
