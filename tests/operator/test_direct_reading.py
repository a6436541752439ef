"""Without Prometheus for long: the sidecars themselves, judged by the same rules, and only when told to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import httpx
import pytest
from dormouse_contract.idleness import IdleSignal, SignalState
from dormouse_operator.cluster.pods import Pod, pod
from dormouse_operator.idle_signal.direct import MAX_ANSWER_BYTES, DirectReader
from dormouse_operator.idle_signal.source import SAME_WORDS_SECONDS, SignalSource
from dormouse_operator.reporting.conditions import IDLE_SIGNAL_AVAILABLE, conditions
from hypothesis import given
from hypothesis import strategies as st

from .fake_pod import FakeModel, FakePod
from .objects import NOW, fleet, managed_model, signal, view_of
from .objects import pod as pod_body

TEXT = "\n".join(FakeModel(idle_since=NOW - 100).exposition("tts")) + "\n"


def reader(
    answer: Callable[[httpx.Request], httpx.Response] | None, *pods: Pod, fleet_seconds: float = 30
) -> DirectReader:
    transport = httpx.MockTransport(answer) if answer else None
    return DirectReader(
        lambda: pods, clock=lambda: NOW, monotonic=lambda: 0.0, transport=transport, fleet_seconds=fleet_seconds
    )


async def read(direct: DirectReader) -> IdleSignal:
    found = await direct.read()
    await direct.close()
    return found


async def test_a_sidecar_is_read_over_the_network() -> None:
    served = FakePod(f"127.220.{secrets.randbelow(250)}.{secrets.randbelow(250) + 2}", {"tts": FakeModel()})
    try:
        found = await read(reader(None, pod(pod_body(podIP=served.ip))))
    finally:
        served.close()
    reading = found.readings[("speech", "tts-0", "tts")]
    assert (reading.residency, reading.in_flight, found.age_seconds(reading)) == ("GPU", 0, 0)
    assert reading.idle_since == served.models["tts"].idle_since
    assert not reading.fault


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: httpx.Response(200, text="<html>"), "no such model"),
        (lambda _: httpx.Response(302, headers={"location": "/"}), "HTTP 302"),
        (lambda _: httpx.Response(200, content=b" " * (MAX_ANSWER_BYTES + 1)), "more than"),
        (lambda _: httpx.Response(200, content=b"\xff"), "no metrics"),
        (lambda _: httpx.Response(200, text='dormouse_model_residency{model="t" 1'), "format"),
    ],
    ids=["HTML", "redirect", "huge", "no text", "half"],
)
async def test_what_is_no_exposition_is_unknown_and_harms_no_other(
    answer: Callable[[httpx.Request], httpx.Response], words: str
) -> None:
    def both(request: httpx.Request) -> httpx.Response:
        return answer(request) if request.url.host == "10.0.0.1" else httpx.Response(200, text=TEXT)

    source = away(await read(reader(both, pod(pod_body()), pod(pod_body("tts-1", podIP="10.0.0.2")))))
    found = await source.read()
    assert found.see(("speech", "tts-1", "tts"), 30).state is SignalState.DIRECT
    seen = found.see(("speech", "tts-0", "tts"), 30)
    assert seen.state is SignalState.MISSING
    assert words in seen.observation.unknown_because


async def test_a_pod_that_says_nonsense_is_not_believed() -> None:
    found = await read(reader(lambda _: httpx.Response(200, text=TEXT.replace(" 0\n", " NaN\n")), pod(pod_body())))
    assert found.see(("speech", "tts-0", "tts"), 30).state is SignalState.INVALID


ODD_VALUES = ["1_000", "٣", "+1", "0x1", "infinity", "nan", "1e", ".5", "1,0", '"1"', "None", "9" * 400]


@pytest.mark.parametrize("value", ODD_VALUES)
async def test_a_value_that_prometheus_would_not_take_makes_the_pod_unknown(value: str) -> None:
    odd = TEXT.replace(" 0\n", f" {value}\n")
    assert odd != TEXT
    found = await read(reader(lambda _: httpx.Response(200, text=odd), pod(pod_body())))
    assert found.see(("speech", "tts-0", "tts"), 30).state is SignalState.MISSING
    assert "format" in found.silent[("speech", "tts-0")]


@pytest.mark.parametrize("value", ["1e+308", "+Inf", "-Inf", "NaN", "1e+999", "-5"])
async def test_a_number_that_can_not_be_makes_the_pod_unknown(value: str) -> None:
    odd = TEXT.replace(" 0\n", f" {value}\n")
    found = await read(reader(lambda _: httpx.Response(200, text=odd), pod(pod_body())))
    assert found.see(("speech", "tts-0", "tts"), 30).state is SignalState.INVALID


async def test_a_pod_speaks_for_itself_alone_and_its_odd_models_are_ignored() -> None:
    odd = TEXT.replace('model="tts"', 'model="TT S",namespace="kube-system",pod="etcd-0"')
    found = await read(reader(lambda _: httpx.Response(200, text=TEXT + odd), pod(pod_body())))
    assert set(found.readings) == {("speech", "tts-0", "tts")}
    assert dict(found.ignored) == {"speech": 1}


_LINES = st.sampled_from(TEXT.split("\n")) | st.text(max_size=40)


@given(st.lists(st.tuples(_LINES, st.text(max_size=12), st.booleans()), max_size=8))
async def test_any_text_of_a_pod_is_a_look_at_it(parts: list[tuple[str, str, bool]]) -> None:
    text = "\n".join(f"{line}{more}" if after else f"{line[: len(line) // 2]}{more}" for line, more, after in parts)
    body = text.encode(errors="replace")
    found = await read(reader(lambda _: httpx.Response(200, content=body), pod(pod_body())))
    assert found.readings or ("speech", "tts-0") in found.silent or not found.failure
    for key in found.readings:
        found.see(key, 30)


async def test_a_fleet_that_takes_too_long_is_read_in_part() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "10.0.0.1":
            await asyncio.Event().wait()
        return httpx.Response(200, text=TEXT)

    pods = (pod(pod_body()), pod(pod_body("tts-1", podIP="10.0.0.2")))
    direct = DirectReader(
        lambda: pods,
        clock=lambda: NOW,
        monotonic=lambda: 0.0,
        transport=httpx.MockTransport(answer),
        fleet_seconds=0.2,
    )
    found = await read(direct)
    assert set(found.readings) == {("speech", "tts-1", "tts")}
    assert "in time" in found.silent[("speech", "tts-0")]


class Time:
    now = 1000.0


def away(direct: IdleSignal, after: float | None = 0, time: Time | None = None, *answers: IdleSignal) -> SignalSource:
    """Prometheus gives `answers`, then is down; the sidecars always say `direct`."""
    coming = iter(answers)

    async def ask() -> IdleSignal:
        return next(coming, IdleSignal(failure="down"))

    async def ask_directly() -> IdleSignal:
        return direct

    clock = time or Time()
    return SignalSource(ask, ask_directly, direct_after_seconds=after, monotonic=lambda: clock.now)


async def test_the_sidecars_are_read_after_the_time_that_was_set_and_not_before() -> None:
    time = Time()
    source = away(signal(), 60, time)
    for elapsed, direct in ((0, False), (59, False), (60, True), (90, True)):
        time.now = 1000.0 + elapsed
        assert bool((await source.read()).direct_because) is direct


async def test_the_sidecars_are_left_alone_by_default() -> None:
    time = Time()
    source = away(signal(), None, time)
    await source.read()
    time.now += 1e6
    assert (await source.read()).failure == "down"


async def test_the_first_good_answer_ends_direct_reading() -> None:
    source = away(signal(), 0, None, IdleSignal(failure="down"), signal())
    assert (await source.read()).direct_because
    assert not (await source.read()).direct_because


async def test_a_direct_signal_shows_in_the_condition() -> None:
    seen = await away(signal()).read()
    view = view_of(fleet(managed_model(), pod_body()), seen)
    shown = next(each for each in conditions(view) if each.type == IDLE_SIGNAL_AVAILABLE)
    assert (shown.status, shown.reason) == ("True", "IdleSignalDirect")


async def test_who_asked_for_a_rest_is_not_asked_before_it_is_over() -> None:
    later = IdleSignal(failure="429", failure_state=SignalState.PROMETHEUS_THROTTLED, retry_after_seconds=40)
    time = Time()
    source = away(signal(), None, time, later, signal())
    for elapsed, failure in ((0, "429"), (39, "429"), (40, "")):
        time.now = 1000.0 + elapsed
        assert (await source.read()).failure == failure


async def test_the_words_of_a_failure_stay_while_its_kind_lasts() -> None:
    time = Time()
    refused = IdleSignal(failure="401", failure_state=SignalState.PROMETHEUS_UNAUTHORIZED)
    source = away(signal(), None, time, *(IdleSignal(failure=word) for word in "abc"), refused)
    shown = []
    for elapsed in (0, 1, SAME_WORDS_SECONDS, SAME_WORDS_SECONDS + 1):
        time.now = 1000.0 + elapsed
        shown.append((await source.read()).failure)
    assert shown == ["a", "a", "c", "401"]


async def test_an_answer_from_a_cache_is_not_believed() -> None:
    source = away(signal(), None, None, signal(), signal())
    assert not (await source.read()).failure
    assert "cache" in (await source.read()).failure
