"""Whatever pods answer and export can be written: as a status, as conditions and Events of one line each."""

from __future__ import annotations

import json
import math
import ssl
from typing import Any

import httpx
import jsonschema_rs
import pytest
from dormouse_contract import Residency, TransitionOutcome, Trigger
from dormouse_contract.idleness import COLUMNS, IdleSignal, build
from dormouse_contract.managed_model import managed_model as typed
from dormouse_contract.managed_model.spec import SpecProblem, SpecProblemReason
from dormouse_contract.wire import ModelReport, ResidencyOrder, TransitionReport
from dormouse_operator.cluster.pods import pod as typed_pod
from dormouse_operator.control_client import (
    MAX_DETAIL_CHARACTERS,
    MAX_RETRY_AFTER_SECONDS,
    MIN_RETRY_AFTER_SECONDS,
    ControlClient,
)
from dormouse_operator.orders import Answer, Outcome
from dormouse_operator.reporting.conditions import conditions
from dormouse_operator.reporting.events import condition_event, transition_event, wish_event
from dormouse_operator.reporting.summary import summarize
from dormouse_operator.telemetry import Telemetry
from dormouse_operator.view import Contact, ReplicaMemory, View
from dormouse_prometheus.answers import Vector
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from tests.contract.crd_values import SCHEMA, anything

from .objects import NOW, fleet, labels, managed_model, pod, view_of

FORGED = "x\n2026-01-01 INFO dormouse: all is well\x1b[2K\u202e"
text = st.text(max_size=60) | st.just(FORGED) | st.just("日" * 5000)
figures = st.sampled_from(
    [0.0, 1.0, NOW - 100, NOW - 1, 2.0**53, 1e308, 1e18, -1.0, math.inf, -math.inf, math.nan, 0.5]
)
ANY_FIGURE = figures | st.floats()
STATUS = jsonschema_rs.Draft202012Validator(SCHEMA["properties"]["status"], validate_formats=True)


def present(value: Any) -> Any:
    """As the API server has it after the merge: what is null is not there."""
    if isinstance(value, dict):
        return {name: present(each) for name, each in value.items() if each is not None}
    return [present(each) for each in value] if isinstance(value, list) else value


def is_one_line(words: str) -> bool:
    return len(words.splitlines()) <= 1 and "\x1b" not in words and "\u202e" not in words


def check_status(view: View) -> None:
    patch = present(summarize(view, NOW).to_patch())
    STATUS.validate(patch)
    said = [each["message"] for each in patch["conditions"]] + [patch.get("lastTransition", {}).get("message", "")]
    assert all(map(is_one_line, said))
    json.dumps(patch, allow_nan=False).encode()


def check_event(event: dict[str, Any]) -> None:
    """As the API server checks one (events.k8s.io/v1), which counts bytes."""
    assert len(event["note"].encode()) <= 1024
    assert 0 < len(event["reason"].encode()) <= 128
    assert len(event["reportingInstance"].encode()) <= 128
    assert len(event["metadata"]["name"]) <= 253
    assert is_one_line(event["note"])
    assert event["reason"].isalnum()
    assert "-." not in event["metadata"]["name"]
    json.dumps(event, allow_nan=False).encode()


@st.composite
def signals(draw: st.DrawFn) -> IdleSignal:
    """Of two models of a pod, each with any figures, some given twice."""
    columns: dict[str, Vector] = {}
    for each in COLUMNS:
        samples = []
        for model in ("tts", "asr"):
            samples += [(labels("tts-0", model), draw(ANY_FIGURE)) for _ in range(draw(st.integers(0, 2)))]
        columns[each.name] = Vector(NOW, tuple(samples))
    names = st.sampled_from(["tts", "asr", FORGED])
    tiers = [
        (labels("tts-0", draw(names), residency=draw(st.sampled_from(["GPU", "CPU", "Unloaded", "Moon\n"]))), 1.0)
        for _ in range(draw(st.integers(0, 4)))
    ]
    return build(Vector(NOW, tuple(tiers), "a store is away"), columns)


@st.composite
def reports(draw: st.DrawFn) -> TransitionReport | None:
    number = ANY_FIGURE | st.integers() | st.sampled_from([10**400, -(10**400)])
    body = {
        "name": "tts",
        "lastTransition": {
            "from": draw(st.sampled_from([*Residency]) | text),
            "to": draw(st.sampled_from([*Residency]) | text),
            "trigger": draw(st.sampled_from([*Trigger]) | text),
            "reason": draw(text),
            "time": draw(number),
            "seconds": draw(number),
            "releasedBytes": draw(number),
            "outcome": draw(st.sampled_from([*TransitionOutcome]) | text),
        },
    }
    return ModelReport.from_json(json.dumps(body)).last_transition


@given(signals(), reports(), text, st.sampled_from([*Outcome]), st.sampled_from(["Active", "Observe", "Paused"]))
def test_whatever_is_read_a_status_can_be_written(
    seen: IdleSignal, moved: TransitionReport | None, detail: str, refusal: Outcome, mode: str
) -> None:
    made = fleet(managed_model(mode=mode, policy={"offloadAfterSeconds": 50, "minResidentSeconds": 0}), pod())
    contact = Contact(refusal, detail, frozenset({"tts", "asr"}))
    view = view_of(made, seen, contact=contact, memory=ReplicaMemory(refusal, detail, None, moved, detail))
    check_status(view)
    telemetry = Telemetry(CollectorRegistry())
    telemetry.fleet(lambda: [view.owner], lambda: [view])
    for each in view.replicas:
        check_event(wish_event(view.owner, each, NOW, "me"))
    for condition in conditions(view):
        check_event(condition_event(view.owner, condition, NOW, "me"))


@given(reports(), text)
def test_whatever_moved_an_event_can_be_written(moved: TransitionReport | None, instance: str) -> None:
    if moved is not None:
        owner = typed(managed_model("a-" * 100))
        check_event(
            transition_event(owner, typed_pod(pod()), "tts", moved, NOW, instance.encode(errors="ignore").hex())
        )


@given(text, text)
def test_whatever_a_user_writes_into_a_spec_is_one_line_of_a_condition(key: str, value: str) -> None:
    made = fleet(managed_model(selector={"matchLabels": {key: value}}, model=value, mode=key, residency=value))
    check_status(view_of(made, IdleSignal()))
    odd = typed(managed_model(policy={"schedule": [{"cron": value, "timeZone": key, "residency": value}]}))
    assert all(is_one_line(problem.message) for problem in odd.problems)
    assert isinstance(odd.problems[0], SpecProblem)
    assert odd.problems[0].reason is SpecProblemReason.INVALID_SCHEDULE


def test_two_models_of_the_most_bytes_do_not_end_the_pass() -> None:
    columns = {
        "released_bytes": Vector(NOW, tuple((labels("tts-0", model), 1e308) for model in ("tts", "asr"))),
        "in_flight": Vector(NOW, tuple((labels("tts-0", model), 0.0) for model in ("tts", "asr"))),
    }
    tiers = tuple((labels("tts-0", model, residency="CPU"), 1.0) for model in ("tts", "asr"))
    view = view_of(fleet(managed_model(), pod()), build(Vector(NOW, tiers), columns))
    check_status(view)
    found = summarize(view, NOW).condition("IdleSignalAvailable")
    assert found is not None
    assert (found.reason, "released_bytes is 1e+308" in found.message) == ("IdleSignalInvalid", True)


async def answered(response: httpx.Response | Exception) -> tuple[Answer, Answer]:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    client = ControlClient(
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), control_port=1, transport=httpx.MockTransport(handle)
    )
    try:
        order = ResidencyOrder(desired=Residency.CPU)
        return await client.list_models("10.0.0.1"), await client.order("10.0.0.1", "tts", order)
    finally:
        await client.close()


async def checked(response: httpx.Response | Exception) -> tuple[Answer, Answer]:
    answers = await answered(response)
    for answer in answers:
        assert is_one_line(answer.detail)
        assert len(answer.detail) <= MAX_DETAIL_CHARACTERS
        rest = answer.retry_after_seconds
        assert rest is None or MIN_RETRY_AFTER_SECONDS <= rest <= MAX_RETRY_AFTER_SECONDS
    return answers


@given(st.sampled_from([200, 202, 204, 302, 404, 409, 422, 503]), anything, st.binary(max_size=60))
async def test_any_answer_of_a_pod_is_an_outcome(status: int, document: Any, junk: bytes) -> None:
    for body in (json.dumps(document).encode(errors="replace"), junk):
        await checked(httpx.Response(status, content=body))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Retry-After", b"Content-Type", b"Content-Encoding", b"Transfer-Encoding", b"X"]),
            st.binary(max_size=20) | st.sampled_from([b"chunked", b"identity", b"gzip", b"5"]),
        ),
        max_size=4,
    )
)
async def test_any_header_of_a_pod_is_survived(headers: list[tuple[bytes, bytes]]) -> None:
    response = httpx.Response(409, content=b"{}")
    response.headers = httpx.Headers(headers)
    await checked(response)


@given(text, text)
async def test_the_words_of_a_problem_are_one_line(title: str, detail: str) -> None:
    problem = {"title": title, "status": 409, "detail": detail, "reason": "InUse"}
    content = json.dumps(problem).encode(errors="replace")
    assert [each.outcome for each in await checked(httpx.Response(409, content=content))] == [Outcome.IN_USE] * 2


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        *(("5", 5.0), ("0", 1.0), ("9" * 400, 300.0), ("1e9", None), ("-1", None), ("1_0", None), ("²", None)),
        *(("٣".encode().decode("latin-1"), None), ("", None), (" 5", None), ("Fri, 31 Dec 9999 23:59:59 GMT", None)),
    ],
)
async def test_a_pod_may_ask_for_a_rest_that_is_neither_none_nor_for_ever(said: str, rest: float | None) -> None:
    for answer in await checked(httpx.Response(503, headers=[(b"retry-after", said.encode("latin-1"))])):
        assert answer.retry_after_seconds == rest


async def test_an_error_that_quotes_the_peer_is_one_short_line() -> None:
    for answer in await checked(httpx.RemoteProtocolError(f"illegal status line: {FORGED}{'x' * 9000}")):
        assert "illegal status line" in answer.detail


@pytest.mark.parametrize(
    "body",
    [
        '{"models": [], "models": [{"name": "tts"}]}',
        '{"models": [{"name": "tts", "name": "asr"}]}',
        '{"models": [{"name": "tts", "lastTransition": null, "lastTransition": {}}]}',
    ],
)
async def test_an_answer_that_gives_a_key_twice_says_nothing(body: str) -> None:
    listed, _ = await checked(httpx.Response(200, content=body.encode()))
    assert listed.snapshots == ()
    assert "another version" in listed.detail


async def test_models_without_a_name_of_one_are_ignored_and_counted() -> None:
    told = {"models": [{"name": "tts"}, {"name": "TTS\n"}, {"name": "../x"}, {"name": "tts"}]}
    listed, _ = await checked(httpx.Response(200, json=told))
    assert [each.name for each in listed.snapshots] == ["tts"]
    assert listed.ignored == 3
    registry = CollectorRegistry()
    Telemetry(registry).ignored("speech", listed.ignored)
    assert b'dormouse_operator_ignored_models_total{namespace="speech"} 3.0' in generate_latest(registry)
