"""Calls side by side, on a clock that the test moves."""

from __future__ import annotations

import asyncio

from dormouse_operator.workqueue.queue import Errands


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_one_at_a_time_for_each_and_a_slow_one_delays_nobody_else() -> None:
    errands = Errands(concurrency=2, monotonic=Clock())
    hang, done = asyncio.Event(), asyncio.Event()

    async def slow() -> float:
        await hang.wait()
        return 0.0

    async def quick() -> float:
        done.set()
        return 0.0

    assert errands.start("slow", None, slow)
    assert not errands.start("slow", None, slow)
    assert errands.start("quick", None, quick)
    async with asyncio.timeout(5):
        await done.wait()
    hang.set()
    await errands.finish(5)


async def test_no_more_than_the_limit_run_at_once() -> None:
    errands = Errands(concurrency=3, monotonic=Clock())
    running = most = 0

    async def call() -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return 0.0

    for key in range(20):
        errands.start(key, None, call)
    await errands.finish(5)
    assert most == 3


async def test_backs_off_further_with_each_failure_and_forgets_it_for_a_new_subject() -> None:
    clock = Clock()
    errands = Errands(monotonic=clock, jitter=lambda: 1.0)
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1

    waits = []
    for _ in range(8):
        began = clock.now
        while not errands.start("pod", "same", fail):
            clock.now += 0.5
        waits.append(clock.now - began)
        await errands.finish(5)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60]
    assert errands.start("pod", "other", fail)
    await errands.finish(5)
    assert calls == 9


async def test_rests_as_long_as_the_errand_says_unless_settled() -> None:
    clock = Clock()
    errands = Errands(monotonic=clock)

    async def rest() -> float:
        return 30.0

    assert errands.start("pod", "same", rest)
    await errands.finish(5)
    clock.now = 29
    assert not errands.start("pod", "same", rest)
    errands.settle("pod")
    assert errands.start("pod", "same", rest)
    await errands.finish(5)


async def test_what_hangs_at_the_end_is_cut_off() -> None:
    errands = Errands(monotonic=Clock())

    async def hang() -> float:
        await asyncio.Event().wait()
        return 0.0

    errands.start("pod", None, hang)
    async with asyncio.timeout(5):
        await errands.finish(0.01)


async def test_at_the_end_what_runs_may_finish_and_what_waits_for_its_turn_never_begins() -> None:
    errands = Errands(concurrency=1, monotonic=Clock())
    running, go_on = asyncio.Event(), asyncio.Event()
    begun: list[str] = []

    async def first() -> float:
        begun.append("first")
        running.set()
        await go_on.wait()
        begun.append("finished")
        return 0.0

    async def second() -> float:
        begun.append("second")
        return 0.0

    errands.start("first", None, first)
    errands.start("second", None, second)
    await running.wait()
    ending = asyncio.create_task(errands.stop(5))
    await asyncio.sleep(0)
    assert not errands.start("third", None, second)
    go_on.set()
    await ending
    assert begun == ["first", "finished"]


async def test_a_dead_and_a_slow_one_among_fifty_delay_nobody_else() -> None:
    """The dead one is tried again and again, the slow one holds its place; each has one place and no more."""
    clock = Clock()
    errands = Errands(concurrency=4, monotonic=clock)
    calls: dict[int, int] = {}
    hang = asyncio.Event()

    async def call(pod: int) -> float | None:
        calls[pod] = calls.get(pod, 0) + 1
        if pod == 7:
            return None
        if pod == 8:
            await hang.wait()
        return 0.0

    for clock.now in range(20):
        for pod in range(50):
            errands.start(pod, None, lambda pod=pod: call(pod))  # type: ignore[misc]
        for _ in range(200):
            await asyncio.sleep(0)
        assert all(calls[pod] == clock.now + 1 for pod in range(50) if pod not in (7, 8)), "nobody else waits"
    assert calls[8] == 1, "one call at a time"
    assert 4 <= calls[7] <= 7, "later and later"
    hang.set()
    await errands.finish(5)
