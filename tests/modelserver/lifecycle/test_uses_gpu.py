"""`@tts.uses_gpu`: the model is held for as long as the function runs, whatever kind of function it is."""

import asyncio
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from dormouse_modelserver import Model, ModelBusy, Residency, WakeTimeout
from torch import nn

from tests.waiting import auntil

from .conftest import Loads, ask

TTS = Model[nn.Linear]


def in_flight(tts: TTS) -> int:
    return tts.snapshot().in_flight


# Kinds of functions -------------------------------------------------------------------------------


def test_a_function_gets_the_model_and_its_callers_leave_it_out(tts: TTS, loads: Loads) -> None:
    @tts.uses_gpu
    def say(model: nn.Linear, value: float, *, plus: float = 0) -> float:
        """Says it."""
        assert in_flight(tts) == 1
        return ask(model, value) + plus

    assert loads.count == 0, "decorating wakes nothing"
    assert (say(3), say(3, plus=1)) == (7, 8)
    assert (in_flight(tts), loads.count) == (0, 1)
    assert (say.__name__, say.__doc__) == ("say", "Says it.")
    assert list(inspect.signature(say).parameters) == ["value", "plus"]


async def test_an_async_function_holds_it_while_it_is_awaited(tts: TTS) -> None:
    @tts.uses_gpu
    async def say(model: nn.Linear, value: float) -> float:
        await asyncio.sleep(0)
        assert in_flight(tts) == 1
        return ask(model, value)

    assert await say(3) == 7
    assert in_flight(tts) == 0


def test_a_generator_holds_it_from_its_first_item_until_it_is_exhausted(tts: TTS) -> None:
    @tts.uses_gpu
    def stream(model: nn.Linear, values: list[float]) -> Iterator[float]:
        for value in values:
            yield ask(model, value)

    items = stream([1, 2])
    assert tts.snapshot().residency is Residency.UNLOADED, "not begun yet"
    assert next(items) == 3
    with pytest.raises(ModelBusy):
        tts.move_to(Residency.CPU)
    assert list(items) == [5]
    assert in_flight(tts) == 0
    tts.move_to(Residency.CPU)


async def test_an_async_generator_holds_it_until_it_is_exhausted(tts: TTS) -> None:
    @tts.uses_gpu
    async def stream(model: nn.Linear, values: list[float]) -> AsyncIterator[float]:
        for value in values:
            await asyncio.sleep(0)
            yield ask(model, value)

    seen = []
    async for item in stream([1, 2, 3]):
        assert in_flight(tts) == 1
        seen.append(item)
    assert (seen, in_flight(tts)) == ([3, 5, 7], 0)


# Early ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closed", "forgotten", "broken off"])
def test_a_generator_that_is_left_early_lets_go(tts: TTS, how: str) -> None:
    cleaned: list[int] = []

    @tts.uses_gpu
    def stream(model: nn.Linear) -> Generator[float, None, None]:
        try:
            while True:
                yield ask(model, 1)
        finally:
            cleaned.append(in_flight(tts))

    items = stream()
    assert next(items) == 3
    if how == "closed":
        items.close()
    elif how == "broken off":
        with pytest.raises(KeyError):
            items.throw(KeyError("voice"))
    del items
    gc.collect()
    assert cleaned == [1], "its own clean-up still had the model"
    assert in_flight(tts) == 0


async def test_an_async_generator_closed_early_cleans_up_with_the_model_and_lets_go(tts: TTS) -> None:
    cleaned: list[int] = []

    @tts.uses_gpu
    async def stream(model: nn.Linear) -> Any:
        try:
            while True:
                yield ask(model, 1)
        finally:
            await asyncio.sleep(0)
            cleaned.append(in_flight(tts))

    items = stream()
    assert await anext(items) == 3
    await items.aclose()
    assert (cleaned, in_flight(tts)) == ([1], 0)


async def test_a_cancelled_stream_lets_go(tts: TTS) -> None:
    began = asyncio.Event()

    @tts.uses_gpu
    async def stream(model: nn.Linear) -> AsyncIterator[float]:
        yield ask(model, 1)
        began.set()
        await asyncio.Event().wait()
        yield 0

    async def consume() -> None:
        async for _ in stream():
            pass

    task = asyncio.create_task(consume())
    await began.wait()
    assert in_flight(tts) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await auntil(lambda: in_flight(tts) == 0)


async def test_cancelled_while_it_waits_for_the_wake_it_hands_its_place_back(tts: TTS, loads: Loads) -> None:
    @tts.uses_gpu
    async def say(model: nn.Linear) -> float:
        return ask(model, 1)

    loads.may_go_on.clear()
    task = asyncio.create_task(say())
    await auntil(lambda: tts.snapshot().waiting == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    loads.may_go_on.set()
    await auntil(lambda: tts.snapshot().residency is Residency.GPU)
    assert (tts.snapshot().waiting, in_flight(tts)) == (0, 0)


async def test_an_error_passes_through_and_lets_go(tts: TTS) -> None:
    @tts.uses_gpu
    def plain(model: nn.Linear) -> None:
        raise KeyError("plain")

    @tts.uses_gpu
    async def awaited(model: nn.Linear) -> None:
        raise KeyError("awaited")

    @tts.uses_gpu
    async def stream(model: nn.Linear) -> AsyncIterator[int]:
        yield 1
        raise KeyError("stream")

    with pytest.raises(KeyError, match="plain"):
        await asyncio.to_thread(plain)
    with pytest.raises(KeyError, match="awaited"):
        await awaited()
    with pytest.raises(KeyError, match="stream"):
        async for _ in stream():
            pass
    assert in_flight(tts) == 0


# What generators are given and give ---------------------------------------------------------------


def test_what_is_sent_to_a_generator_and_what_it_returns_pass_through(tts: TTS) -> None:
    @tts.uses_gpu
    def echo(model: nn.Linear) -> Generator[float, float, str]:
        value = yield 0.0
        while value:
            value = yield ask(model, value)
        return "done"

    items = echo()
    assert (next(items), items.send(3)) == (0, 7)
    with pytest.raises(StopIteration) as ended:
        items.send(0)
    assert ended.value.value == "done"


async def test_what_is_sent_to_and_thrown_into_an_async_generator_passes_through(tts: TTS) -> None:
    @tts.uses_gpu
    async def echo(model: nn.Linear) -> Any:
        value = 0.0
        while True:
            try:
                value = yield ask(model, value)
            except KeyError:
                value = 100

    items = echo()
    assert (await anext(items), await items.asend(3), await items.athrow(KeyError("x"))) == (1, 7, 201)
    await items.aclose()
    assert in_flight(tts) == 0


# Nesting and threads ------------------------------------------------------------------------------


async def test_nested_uses_join(tts: TTS) -> None:
    @tts.uses_gpu
    def inner(model: nn.Linear, value: float) -> float:
        assert in_flight(tts) == 2
        return ask(model, value)

    @tts.uses_gpu
    async def outer(model: nn.Linear, value: float) -> float:
        return inner(value) + ask(model, value)

    assert await outer(1) == 6
    assert in_flight(tts) == 0


async def test_a_plain_function_in_a_running_loop_raises_rather_than_blocks_it(tts: TTS) -> None:
    @tts.uses_gpu
    def say(model: nn.Linear) -> float:
        return ask(model, 1)

    with pytest.raises(RuntimeError, match="would block the running event loop"):
        say()
    assert await asyncio.to_thread(say) == 3


def test_one_decorated_function_serves_many_threads_at_once(tts: TTS) -> None:
    together = threading.Barrier(8, timeout=30)
    answers: list[float] = []

    @tts.uses_gpu
    def say(model: nn.Linear, value: float) -> None:
        together.wait()
        assert in_flight(tts) == 8
        answers.append(ask(model, value))
        together.wait()

    threads = [threading.Thread(target=say, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [2 * value + 1 for value in range(8)]
    assert in_flight(tts) == 0


def test_a_timeout_is_the_decorators(tts: TTS, loads: Loads) -> None:
    @tts.uses_gpu(timeout=0.05)
    def say(model: nn.Linear, value: float) -> float:
        return ask(model, value)

    loads.may_go_on.clear()
    with pytest.raises(WakeTimeout, match=r"within 0\.05 s"):
        say(1)
    loads.may_go_on.set()
    tts.move_to(Residency.GPU)
    assert say(1) == 3


# Where the model goes -----------------------------------------------------------------------------


def test_a_parameter_named_model_takes_it_wherever_it_stands(tts: TTS) -> None:
    @tts.uses_gpu
    def keyword_only(value: float, *, model: nn.Linear) -> float:
        return ask(model, value)

    @tts.uses_gpu
    def last(value: float, model: Any = None) -> float:
        return ask(model, value)

    @tts.uses_gpu
    def between(value: float, model: nn.Linear, plus: float) -> float:
        return ask(model, value) + plus

    class Studio:
        gain = 10

        @tts.uses_gpu
        def say(self, model: nn.Linear, value: float) -> float:
            return self.gain * ask(model, value)

    assert keyword_only(3) == last(3) == last(value=3) == 7
    assert between(3, 1) == between(3, plus=1) == between(value=3, plus=1) == 8
    assert Studio().say(3) == Studio().say(value=3) == 70
    assert list(inspect.signature(between).parameters) == ["value", "plus"]


def test_the_first_one_takes_it_whatever_its_name(tts: TTS) -> None:
    @tts.uses_gpu
    def say(voice: nn.Linear, value: float) -> float:
        return ask(voice, value)

    @tts.uses_gpu
    def gather(*everything: Any) -> float:
        return ask(everything[0], everything[1])

    assert say(3) == say(value=3) == gather(3) == 7
    with pytest.raises(TypeError, match=r"voice= was given, and the decorator gives it"):
        say(3, voice=None)
    assert in_flight(tts) == 0


def test_without_a_place_for_the_model_it_says_so_at_once(tts: TTS) -> None:
    def nothing() -> None: ...

    def keywords(*, value: float) -> None: ...

    class Studio:
        def say(self, value: float) -> None: ...

    with pytest.raises(TypeError, match=r"nothing\(\) has no parameter for the model; give it one: def nothing.model"):
        tts.uses_gpu(nothing)
    with pytest.raises(TypeError, match="has no parameter for the model"):
        tts.uses_gpu(keywords)
    with pytest.raises(TypeError, match=r"say\(\) is a method.*name the one that takes the model `model`"):
        tts.uses_gpu(Studio.say)


@pytest.mark.parametrize(
    "wrong", [5, "say", staticmethod(ask), nn.Linear], ids=["number", "text", "staticmethod", "class"]
)
def test_only_functions_can_be_decorated(tts: TTS, wrong: Any) -> None:
    with pytest.raises(TypeError, match="put it on a function, below any other decorator"):
        tts.uses_gpu(wrong)


def test_a_function_that_returns_something_still_to_run_is_refused(tts: TTS) -> None:
    @tts.uses_gpu
    def stream(model: nn.Linear) -> Iterator[float]:
        return (ask(model, value) for value in (1, 2))

    async def later() -> None: ...

    @tts.uses_gpu
    def say(model: nn.Linear) -> Any:
        return later()

    with pytest.raises(TypeError, match="returned generator, which would run after the model was let go"):
        stream()
    with pytest.raises(TypeError, match="returned coroutine"):
        say()
    assert in_flight(tts) == 0
