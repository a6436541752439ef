"""An answer that nobody listens to any more lets go of its model, also when only the cyclic collector can end it.

The collector runs when objects are made, and a test that polls makes them: so here it is off, and what ends an answer
is the library alone.
"""

import asyncio
import gc
import itertools
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from dormouse_modelserver import Model, Residency, ResidencyManager
from dormouse_modelserver.lifecycle.uses import left_behind
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from torch import nn

from examples.speech_server import create_app
from tests.waiting import auntil, until

from .conftest import Manage, ask

TTS = Model[nn.Linear]


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    left_behind._lookout._may_collect_at = 0.0  # the last test's was long ago
    yield
    gc.enable()


class Listener:
    """Part of a cycle, so that only a collection ends what it listens to."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.itself = answer, self


@pytest.fixture
def collections() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        seen.append(phase)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


class Served:
    """An app behind a real server; its loop and its threads run on when a client has gone."""

    def __init__(self, app: FastAPI) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        serve = lambda: asyncio.run(self._server.serve(sockets=[listener]))  # noqa: E731
        self._thread = threading.Thread(target=serve, daemon=True)

    def __enter__(self) -> "Served":
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def listen_and_go(self, path: str, **request: Any) -> None:
        with httpx.stream(request.pop("method", "GET"), self.url + path, timeout=30, **request) as answer:
            assert next(answer.iter_raw())


def decorated(tts: TTS) -> Callable[[], Any]:
    @tts.uses_gpu
    def stream(model: nn.Linear) -> Iterator[bytes]:
        while True:
            yield b"%f" % ask(model, 1) * 1000
            time.sleep(0.01)

    return stream


def in_another_generator(tts: TTS) -> Callable[[], Any]:
    inner = decorated(tts)

    def stream() -> Iterator[bytes]:
        yield b"header"
        yield from inner()

    return stream


def with_a_statement_of_its_own(tts: TTS) -> Callable[[], Any]:
    def stream() -> Iterator[bytes]:
        with tts.on_gpu() as model:
            while True:
                yield b"%f" % ask(model, 1) * 1000
                time.sleep(0.01)

    return stream


def an_async_one(tts: TTS) -> Callable[[], Any]:
    async def stream() -> AsyncIterator[bytes]:
        async with tts.on_gpu() as model:
            while True:
                yield b"%f" % ask(model, 1) * 1000
                await asyncio.sleep(0.01)

    return stream


@pytest.mark.parametrize("kind", [decorated, in_another_generator, with_a_statement_of_its_own, an_async_one])
def test_a_stream_whose_client_has_gone_lets_the_model_sleep(manage: Manage, kind: Any) -> None:
    tts = manage(idle_timeout=0.5, min_resident=0.0).register("tts", load=lambda: nn.Linear(4, 4))
    stream, app = kind(tts), FastAPI()

    @app.get("/")
    def answer() -> StreamingResponse:
        return StreamingResponse(stream())

    with Served(app) as served:
        for _ in range(2):
            served.listen_and_go("/")
        until(lambda: tts.snapshot().residency is Residency.CPU, 30)
        assert tts.snapshot().in_flight == 0


def test_a_stream_with_the_model_from_a_dependency_lets_the_model_sleep(manage: Manage) -> None:
    tts = manage(idle_timeout=0.5, min_resident=0.0).register("tts", load=lambda: nn.Linear(4, 4))
    app = FastAPI()

    def held() -> Iterator[nn.Linear]:
        with tts.on_gpu() as model:
            yield model

    @app.get("/")
    def answer(model: nn.Linear = Depends(held)) -> StreamingResponse:  # noqa: B008
        return StreamingResponse(b"%f" % ask(model, 1) * 1000 for _ in itertools.count())

    with Served(app) as served:
        served.listen_and_go("/")
        until(lambda: tts.snapshot().residency is Residency.CPU, 30)


def test_the_speech_example_lets_its_vocoder_sleep_when_the_listener_has_gone() -> None:
    manager = ResidencyManager("sim:1GiB", socket="", idle_timeout=0.5, min_resident=0.0)
    with Served(create_app(manager)) as served:
        spoken = {"input": "a dormouse sleeps " * 50, "stream": True}
        served.listen_and_go("/v1/audio/speech", method="POST", json=spoken)
        until(lambda: manager["vocoder"].snapshot().residency is Residency.CPU, 60)
    manager.close()


def test_an_answer_in_a_cycle_that_nobody_refers_to_ends(tts: TTS) -> None:
    Listener(decorated(tts)()).answer.__next__()
    assert tts.snapshot().in_flight == 1
    until(lambda: tts.snapshot().in_flight == 0, 30)


async def test_an_async_answer_that_was_begun_by_hand_and_left_ends(tts: TTS) -> None:
    answer = an_async_one(tts)()
    await anext(answer)
    Listener(answer)
    del answer
    assert tts.snapshot().in_flight == 1
    await auntil(lambda: tts.snapshot().in_flight == 0, 30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_that_waits_for_what_nobody_can_bring_ends(tts: TTS, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "asyncio")  # it says that the task was destroyed

    async def wait_for_ever() -> None:
        async with tts.on_gpu():
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.get_running_loop().create_task(wait_for_ever()).add_done_callback(lambda _: None)
        await auntil(lambda: tts.snapshot().in_flight == 1)
        await auntil(lambda: tts.snapshot().in_flight == 0, 30)

    asyncio.run(main())


def test_an_answer_that_somebody_still_refers_to_is_held(tts: TTS, collections: list[str]) -> None:
    answer = decorated(tts)()
    next(answer)
    until(lambda: "stop" in collections, 30)
    assert tts.snapshot().in_flight == 1
    assert next(answer)
    answer.close()
    assert tts.snapshot().in_flight == 0


def test_while_its_code_runs_nothing_is_looked_for(tts: TTS, collections: list[str]) -> None:
    until_then = time.monotonic() + 4
    with tts.on_gpu():
        while time.monotonic() < until_then:
            time.sleep(0.01)
    assert collections == []


def test_collected_while_the_slots_lock_is_held_it_ends_elsewhere(tts: TTS) -> None:
    Listener(decorated(tts)()).answer.__next__()
    assert tts.snapshot().in_flight == 1
    collected = threading.Event()

    def collect_inside() -> None:
        with tts._slot._state.lock:
            gc.collect()
        collected.set()

    threading.Thread(target=collect_inside, daemon=True).start()
    assert collected.wait(20), "it waits for a lock that its own thread holds"
    until(lambda: tts.snapshot().in_flight == 0, 1.5)


def test_a_closed_answer_ends_at_once(tts: TTS) -> None:
    @tts.uses_gpu
    def stream(model: nn.Linear) -> Iterator[float]:
        yield ask(model, 1)
        yield ask(model, 2)

    answer = stream()
    next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert tts.snapshot().in_flight == 0
