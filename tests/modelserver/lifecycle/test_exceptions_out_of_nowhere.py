"""An exception that strikes between any two steps of entering and leaving: no use is left, and nothing is locked.

Signal handlers (timeout decorators, sync workers, Ctrl-C) and `PyThreadState_SetAsyncExc` raise wherever Python code
is. A trace function strikes at the first step of ours, then at the second, and so on until one run is through.
"""

import asyncio
import ctypes
import dis
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import dormouse_modelserver
import pytest
from dormouse_modelserver import Model, Residency
from dormouse_modelserver.lifecycle.background import LongLived
from torch import nn

from tests.waiting import auntil, until

from .conftest import ask

TTS = Model[nn.Linear]
OURS = str(Path(dormouse_modelserver.__file__).parent)


class Struck(Exception):
    pass


class Strike:
    """Raises at the `at`-th step that this thread makes in the library, or between its statement and its body."""

    def __init__(self, at: int) -> None:
        self._left, self.fell = at, False

    def __enter__(self) -> "Strike":
        sys.settrace(self._trace)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        sys.settrace(None)
        return isinstance(error, Struck)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(OURS) and not code.co_name.startswith("use_"):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        # Between the names of keyword arguments and the call that takes them, CPython 3.11 does not forget them again;
        # nothing but a trace function can raise there.
        if event == "call" or (
            event == "opcode" and dis.opname[code.co_code[frame.f_lasti]] not in ("PRECALL", "CALL")
        ):
            self._left -= 1
            if self._left == 0:
                self.fell = True
                raise Struck
        return self._trace


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What a notebook keeps: the last exception, with it the frames, and what those refer to."""
    kept: list[BaseException] = []

    def could_not_be_raised(args: Any) -> None:
        kept.append(args.exc_value)

    monkeypatch.setattr(sys, "unraisablehook", could_not_be_raised)
    return kept


def use_a_with_statement(tts: TTS) -> None:
    with tts.on_gpu() as model:
        ask(model, 1)


def use_the_same_hold_twice(tts: TTS) -> None:
    hold = tts.on_gpu()
    KEPT_HOLDS.append(hold)
    with hold, hold as model:
        ask(model, 1)


def use_a_decorated_function(tts: TTS) -> None:
    assert DECORATED[tts.name](1) == 3


def use_a_generator_that_is_closed(tts: TTS) -> None:
    answer = STREAMS[tts.name]()
    assert next(answer) == 3
    answer.close()


def use_a_generator_that_is_dropped(tts: TTS) -> None:
    for _ in STREAMS[tts.name]():
        break


def use_it_in_a_task(tts: TTS) -> None:
    async def use_it() -> None:
        async with tts.on_gpu() as model, tts.on_gpu():
            await asyncio.sleep(0)
            ask(model, 1)

    LOOP[0].run_until_complete(use_it())


KEPT_HOLDS: list[Any] = []
DECORATED: dict[str, Callable[[float], float]] = {}
STREAMS: dict[str, Callable[[], Any]] = {}
LOOP: list[asyncio.AbstractEventLoop] = []
WAYS = [
    use_a_with_statement,
    use_the_same_hold_twice,
    use_a_decorated_function,
    use_a_generator_that_is_closed,
    use_a_generator_that_is_dropped,
    use_it_in_a_task,
]


@pytest.fixture
def ready(tts: TTS) -> Iterator[TTS]:
    @tts.uses_gpu
    def say(model: nn.Linear, value: float) -> float:
        return ask(model, value)

    @tts.uses_gpu
    def stream(model: nn.Linear) -> Iterator[float]:
        while True:
            yield ask(model, 1)

    DECORATED[tts.name], STREAMS[tts.name] = say, stream
    LOOP.append(asyncio.new_event_loop())
    yield tts
    LOOP.pop().close()
    KEPT_HOLDS.clear()


AWAKE = [pytest.param(way, False, id=way.__name__.removeprefix("use_")) for way in WAYS]
ASLEEP = [pytest.param(way, True, id=way.__name__.removeprefix("use_") + "_asleep") for way in WAYS[:3]]


@pytest.mark.parametrize(("way", "asleep"), [*AWAKE, *ASLEEP])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_wherever_it_strikes_no_use_is_left(ready: TTS, way: Any, asleep: bool, kept: list[BaseException]) -> None:
    ready.move_to(Residency.GPU)
    for at in range(1, 100_000):
        if asleep:
            ready.move_to(Residency.CPU)
        strike = Strike(at)
        with strike:
            try:
                way(ready)
            except Struck as struck:
                kept[:] = [struck]
                raise
        if "generator" in way.__name__:
            kept.clear()  # the frame of the user's own function is in it, and holds the generator
        seen = ready.snapshot()
        assert (seen.in_flight, seen.waiting) == (0, 0), f"struck at step {at}"
        if not strike.fell:
            break
        until(lambda: ready.snapshot().transition is None)
        if at % 10 == 0:
            ready.move_to(Residency.CPU)
            with ready.on_gpu(timeout=20) as model:
                assert ask(model, 2) == 5, f"struck at step {at}"
    assert at > 100, "it struck nowhere"
    ready.move_to(Residency.UNLOADED)


def test_a_signal_at_any_moment_leaves_no_use(ready: TTS, kept: list[BaseException]) -> None:
    """As timeout decorators do it: in the main thread, again and again, until enough have struck."""
    struck, deadline = 0, time.monotonic() + 60

    def strike(number: int, frame: FrameType | None) -> None:
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    try:
        while struck < 300:
            assert time.monotonic() < deadline, f"struck {struck} times only"
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 * (1 + struck % 37))
                for _ in range(50):
                    use_a_with_statement(ready)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Struck:
                struck += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    until(lambda: ready.snapshot().in_flight == 0)
    ready.move_to(Residency.CPU)
    with ready.on_gpu(timeout=20) as model:
        assert ask(model, 2) == 5


def test_an_exception_set_from_another_thread_leaves_no_use(ready: TTS, kept: list[BaseException]) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                use_a_with_statement(ready)
            except Struck:
                continue

    def run() -> None:
        while not over.is_set():
            try:
                work()
            except Struck:
                continue

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    for _ in range(300):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident or 0), ctypes.py_object(Struck))
        time.sleep(0.0005)
    over.set()
    worker.join(20)
    until(lambda: ready.snapshot().in_flight == 0)
    ready.move_to(Residency.CPU)


def test_a_waiter_that_is_struck_gives_its_place_up(ready: TTS, loads: Any) -> None:
    loads.may_go_on.clear()

    def strike(number: int, frame: FrameType | None) -> None:
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Struck), ready.on_gpu(timeout=30):
            pass
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ready.snapshot().waiting == 0
    loads.may_go_on.set()
    until(lambda: ready.snapshot().residency is Residency.GPU and ready.snapshot().transition is None)
    ready.move_to(Residency.CPU)


# Held without a `with` statement ------------------------------------------------------------------


def test_a_stack_that_is_closed_or_forgotten_lets_go(ready: TTS) -> None:
    with ExitStack() as stack:
        stack.enter_context(ready.on_gpu())
        stack.enter_context(ready.on_gpu())
        assert ready.snapshot().in_flight == 2
    assert ready.snapshot().in_flight == 0
    forgotten = ExitStack()
    forgotten.enter_context(ready.on_gpu())
    assert ready.snapshot().in_flight == 1
    del forgotten
    assert ready.snapshot().in_flight == 0


async def test_an_async_stack_lets_go(ready: TTS) -> None:
    async with AsyncExitStack() as stack:
        assert ask(await stack.enter_async_context(ready.on_gpu()), 1) == 3
        assert ready.snapshot().in_flight == 1
    assert ready.snapshot().in_flight == 0


def test_entered_and_left_by_hand_it_is_counted_for_as_long(ready: TTS) -> None:
    hold = ready.on_gpu()
    hold.__enter__()
    hold.__enter__()
    assert ready.snapshot().in_flight == 2
    hold.__exit__(None, None, None)
    assert ready.snapshot().in_flight == 1
    hold.__exit__(None, None, None)
    assert ready.snapshot().in_flight == 0
    with pytest.raises(RuntimeError, match="left more often than it was entered"):
        hold.__exit__(None, None, None)


def test_one_hold_serves_many_threads_each_with_a_use_of_its_own(ready: TTS) -> None:
    hold, together = ready.on_gpu(), threading.Barrier(8, timeout=30)

    def work() -> None:
        with hold:
            together.wait()
            assert ready.snapshot().in_flight == 8
            together.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ready.snapshot().in_flight == 0


async def test_one_hold_left_by_hand_ends_the_use_of_the_task_that_leaves(ready: TTS) -> None:
    hold = ready.on_gpu()
    entered, leave = [asyncio.Event(), asyncio.Event()], [asyncio.Event(), asyncio.Event()]

    async def use_it(number: int) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(hold)
            entered[number].set()
            await leave[number].wait()

    def oldest() -> float:
        return ready.snapshot().oldest_use_seconds or 0.0

    first = asyncio.create_task(use_it(0))
    await entered[0].wait()
    await auntil(lambda: oldest() > 1)
    second = asyncio.create_task(use_it(1))
    await entered[1].wait()
    leave[0].set()
    await first
    assert ready.snapshot().in_flight == 1
    assert oldest() < 1, "the first task's use is the one that has ended"
    leave[1].set()
    await second
    assert ready.snapshot().in_flight == 0


def test_wherever_it_strikes_while_a_thread_is_started_it_is_the_users_and_the_thread_starts_later() -> None:
    for at in range(1, 10_000):
        done, arrived = threading.Event(), False
        thread, strike = LongLived("for-this-test", done.set), Strike(at)
        with strike:
            thread.ensure()
            arrived = True
        assert arrived is not strike.fell, f"swallowed at step {at}"
        elsewhere = threading.Thread(target=thread.ensure)
        elsewhere.start()
        elsewhere.join(20)
        assert done.wait(20), f"struck at step {at}"
        if not strike.fell:
            break
    assert at > 20, "it struck nowhere"
