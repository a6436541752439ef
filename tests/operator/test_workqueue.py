"""Work side by side, on a clock that the test moves."""

from __future__ import annotations

import asyncio

from dormouse_operator.workqueue.keys import (
    LeasePolicy,
    OrderModel,
    ProbePod,
    WriteEvent,
    WriteFirstStatuses,
    WriteStatus,
)
from dormouse_operator.workqueue.queue import WorkQueue
from dormouse_operator.workqueue.result import Done, RequeueAfter, Result, Retry


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(pod_uid: str) -> ProbePod:
    return ProbePod("speech", pod_uid)


async def test_one_at_a_time_for_each_and_a_slow_one_delays_nobody_else() -> None:
    queue = WorkQueue(concurrency=2, monotonic=Clock())
    hang, done = asyncio.Event(), asyncio.Event()

    async def slow() -> Result:
        await hang.wait()
        return Done()

    async def quick() -> Result:
        done.set()
        return Done()

    assert queue.add(key("slow"), None, slow)
    assert not queue.add(key("slow"), None, slow)
    assert queue.add(key("quick"), None, quick)
    async with asyncio.timeout(5):
        await done.wait()
    hang.set()
    await queue.drain(5)


async def test_no_more_than_the_limit_run_at_once() -> None:
    queue = WorkQueue(concurrency=3, monotonic=Clock())
    running = most = 0

    async def call() -> Result:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Done()

    for number in range(20):
        queue.add(key(str(number)), None, call)
    await queue.drain(5)
    assert most == 3


async def test_backs_off_further_with_each_failure_and_forgets_it_for_a_new_subject() -> None:
    clock = Clock()
    queue = WorkQueue(monotonic=clock, jitter=lambda: 1.0)
    calls = 0

    async def fail() -> Result:
        nonlocal calls
        calls += 1
        return Retry()

    waits = []
    for _ in range(8):
        began = clock.now
        while not queue.add(key("pod"), "same", fail):
            clock.now += 0.5
        waits.append(clock.now - began)
        await queue.drain(5)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60]
    assert queue.add(key("pod"), "other", fail)
    await queue.drain(5)
    assert calls == 9


async def test_rests_as_long_as_the_result_says_unless_forgotten() -> None:
    clock = Clock()
    queue = WorkQueue(monotonic=clock)

    async def rest() -> Result:
        return RequeueAfter(30)

    assert queue.add(key("pod"), "same", rest)
    await queue.drain(5)
    clock.now = 29
    assert not queue.add(key("pod"), "same", rest)
    queue.forget(key("pod"))
    assert queue.add(key("pod"), "same", rest)
    await queue.drain(5)


async def test_what_hangs_at_the_end_is_cut_off() -> None:
    queue = WorkQueue(monotonic=Clock())

    async def hang() -> Result:
        await asyncio.Event().wait()
        return Done()

    queue.add(key("pod"), None, hang)
    async with asyncio.timeout(5):
        await queue.drain(0.01)


async def test_at_the_end_what_runs_may_finish_and_what_waits_for_its_turn_never_begins() -> None:
    queue = WorkQueue(concurrency=1, monotonic=Clock())
    running, go_on = asyncio.Event(), asyncio.Event()
    begun: list[str] = []

    async def first() -> Result:
        begun.append("first")
        running.set()
        await go_on.wait()
        begun.append("finished")
        return Done()

    async def second() -> Result:
        begun.append("second")
        return Done()

    queue.add(key("first"), None, first)
    queue.add(key("second"), None, second)
    await running.wait()
    ending = asyncio.create_task(queue.shut_down(5))
    await asyncio.sleep(0)
    assert not queue.add(key("third"), None, second)
    go_on.set()
    await ending
    assert begun == ["first", "finished"]


async def test_a_dead_and_a_slow_one_among_fifty_delay_nobody_else() -> None:
    """The dead one is tried again and again, the slow one holds its place; each has one place and no more."""
    clock = Clock()
    queue = WorkQueue(concurrency=4, monotonic=clock)
    calls: dict[int, int] = {}
    hang = asyncio.Event()

    async def call(pod: int) -> Result:
        calls[pod] = calls.get(pod, 0) + 1
        if pod == 7:
            return Retry()
        if pod == 8:
            await hang.wait()
        return Done()

    for clock.now in range(20):
        for pod in range(50):
            queue.add(key(str(pod)), None, lambda pod=pod: call(pod))  # type: ignore[misc]
        for _ in range(200):
            await asyncio.sleep(0)
        assert all(calls[pod] == clock.now + 1 for pod in range(50) if pod not in (7, 8)), "nobody else waits"
    assert calls[8] == 1, "one call at a time"
    assert 4 <= calls[7] <= 7, "later and later"
    hang.set()
    await queue.drain(5)


async def test_what_belongs_to_a_pod_is_forgotten_with_the_pod_though_another_object_has_the_same_uid() -> None:
    queue = WorkQueue(monotonic=Clock())

    async def fail() -> Result:
        return Retry()

    of_pods = [ProbePod("speech", "a"), OrderModel("speech", "a", "tts"), LeasePolicy("speech", "a", "tts", "b")]
    of_owners = [WriteStatus("speech", "a"), WriteEvent("speech", "a", ("Offloaded",))]
    of_nobody = [WriteFirstStatuses()]
    for each in [*of_pods, *of_owners, *of_nobody]:
        assert queue.add(each, None, fail)
    await queue.drain(5)
    known = [*of_pods, *of_owners, *of_nobody]
    queue.forget_pods_but({"a"})
    queue.forget_managed_models_but({"a", "b"})
    assert [each for each in known if queue.due_in(each) is not None] == known
    queue.forget_pods_but({"b"})
    assert [each for each in known if queue.due_in(each) is not None] == [*of_owners, *of_nobody]
    queue.forget_managed_models_but(())
    assert [each for each in known if queue.due_in(each) is not None] == of_nobody


async def test_what_runs_is_not_forgotten_so_that_no_second_one_begins() -> None:
    queue = WorkQueue(monotonic=Clock())
    go_on = asyncio.Event()

    async def hang() -> Result:
        await go_on.wait()
        return Done()

    assert queue.add(key("pod"), None, hang)
    await asyncio.sleep(0)
    queue.forget_pods_but(())
    assert not queue.add(key("pod"), None, hang)
    go_on.set()
    await queue.drain(5)


async def test_work_that_raises_is_retried_with_back_off() -> None:
    clock = Clock()
    queue = WorkQueue(monotonic=clock, jitter=lambda: 1.0)

    async def fault() -> Result:
        raise KeyError("unforeseen")

    for wait in (1.0, 2.0):
        assert queue.add(key("pod"), None, fault)
        await queue.drain(5)
        assert queue.due_in(key("pod")) == wait
        clock.now += wait
