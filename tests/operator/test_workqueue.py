"""Work side by side, on a clock that the test moves."""

from __future__ import annotations

import asyncio

from dormouse_operator.workqueue.keys import (
    Key,
    LeasePolicy,
    OrderModel,
    ProbePod,
    WriteEvent,
    WriteFirstStatuses,
    WriteStatus,
)
from dormouse_operator.workqueue.places import Places
from dormouse_operator.workqueue.queue import WorkQueue
from dormouse_operator.workqueue.result import Done, RequeueAfter, Result, Retry, Unanswered
from hypothesis import given, settings
from hypothesis import strategies as st


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(pod_uid: str) -> ProbePod:
    return ProbePod("speech", pod_uid)


async def test_one_at_a_time_for_each_and_a_slow_one_delays_nobody_else() -> None:
    queue = WorkQueue(concurrency=2, per_namespace=2, monotonic=Clock())
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
    queue = WorkQueue(concurrency=3, per_namespace=3, monotonic=Clock())
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
    queue = WorkQueue(concurrency=1, per_namespace=1, monotonic=Clock())
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
    queue = WorkQueue(concurrency=4, per_namespace=4, monotonic=clock)
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


class Calls:
    """Work that runs until it is let go, and what of it has begun."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self.begun: list[Key] = []
        self._ends: dict[Key, asyncio.Future[Result]] = {}

    def add(self, *keys: Key) -> None:
        for each in keys:
            assert self._queue.add(each, None, lambda each=each: self._run(each))  # type: ignore[misc]

    async def __aenter__(self) -> Calls:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._queue.shut_down(0)

    async def end(self, key: Key, result: Result | None = None) -> None:
        self._ends.pop(key).set_result(result or Done())
        await self.turn()

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _run(self, key: Key) -> Result:
        self.begun.append(key)
        self._ends[key] = asyncio.get_running_loop().create_future()
        return await self._ends[key]


def orders(namespace: str, pod_uid: str, models: int) -> list[OrderModel]:
    return [OrderModel(namespace, pod_uid, f"model-{number}") for number in range(models)]


async def test_a_pod_of_three_hundred_models_has_two_calls_at_once_and_a_namespace_its_share() -> None:
    async with Calls(WorkQueue(concurrency=8, per_namespace=4, monotonic=Clock())) as calls:
        calls.add(*orders("bad", "many", 300))
        await calls.turn()
        assert len(calls.begun) == 2
        for number in range(50):
            calls.add(*orders("bad", f"pod-{number}", 3))
        await calls.turn()
        assert len(calls.begun) == 4
        calls.add(OrderModel("good", "pod", "tts"))
        await calls.turn()
        assert calls.begun[-1].namespace == "good", "it waits for nobody"


async def test_a_place_that_is_free_goes_to_namespaces_and_pods_in_turn() -> None:
    async with Calls(WorkQueue(concurrency=1, per_namespace=1, monotonic=Clock())) as calls:
        calls.add(*orders("one", "a", 3), *orders("one", "b", 2), *orders("two", "c", 2), *orders("three", "d", 1))
        await calls.turn()
        while len(calls.begun) < 8:
            await calls.end(calls.begun[-1])
        assert [each.object_uid for each in calls.begun] == ["a", "c", "d", "a", "c", "b", "a", "b"]


async def test_a_pod_that_does_not_answer_is_left_alone_as_a_whole() -> None:
    clock = Clock()
    queue = WorkQueue(monotonic=clock, jitter=lambda: 1.0)
    async with Calls(queue) as calls:
        first, second, *others = orders("bad", "silent", 300)
        calls.add(first, second, *others)
        await calls.turn()
        await calls.end(first, Unanswered())
        assert calls.begun == [first, second], "what waited is dropped"
        assert queue.waiting_seconds() == {}
        await calls.end(second, Unanswered())
        assert not queue.add(others[0], "another subject", calls.turn)  # type: ignore[arg-type]
        assert queue.due_in(others[0]) == queue.due_in(first) == 1.0, "both were one silence"
        calls.add(OrderModel("bad", "another", "tts"))
        for seconds in (2.0, 4.0):
            clock.now += queue.due_in(first) or 0.0
            calls.add(first)
            await calls.turn()
            await calls.end(first, Unanswered())
            assert queue.due_in(others[0]) == seconds
        clock.now += 4.0
        calls.add(first)
        await calls.turn()
        await calls.end(first)
        calls.add(*others[:5])
        await calls.turn()
        assert len(calls.begun) == 8, "it answers again"


async def test_tells_how_long_the_oldest_of_a_namespace_waits() -> None:
    clock = Clock()
    queue = WorkQueue(concurrency=2, per_namespace=1, monotonic=clock)
    async with Calls(queue) as calls:
        calls.add(*orders("bad", "a", 1))
        clock.now = 5.0
        calls.add(*orders("bad", "b", 1))
        clock.now = 9.0
        calls.add(*orders("bad", "c", 1), *orders("good", "d", 1))
        assert queue.waiting_seconds() == {"bad": 4.0}


async def test_what_is_no_longer_wanted_waits_no_longer() -> None:
    queue = WorkQueue(concurrency=1, per_namespace=1, monotonic=Clock())
    async with Calls(queue) as calls:
        first, second, third = orders("one", "a", 3)
        calls.add(first, second, third)
        await calls.turn()
        queue.forget(second)
        await calls.end(first)
        assert calls.begun == [first, third]
        calls.add(second)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "end", "leave", "silence"]), st.integers(0, 2), st.integers(0, 2)),
        max_size=80,
    ),
    st.integers(0, 3),
)
def test_places_are_never_lost_nor_given_twice(steps: list[tuple[str, int, int]], model: int) -> None:
    """Whatever happens in whatever order, the limits hold, and nobody waits while a place is there for it."""
    places = Places(3, 2, 1)
    waiting: set[Key] = set()
    running: set[Key] = set()
    for position, (what, namespace, pod) in enumerate(steps):
        key: Key = OrderModel(f"n{namespace}", f"{namespace}{pod}", f"m{(position + model) % 4}")
        if what == "add" and key not in waiting | running:
            places.wait(key, position)
            waiting.add(key)
        elif what == "end" and running:
            places.give_back(running.pop())
        elif what == "leave" and waiting:
            places.leave(gone := waiting.pop())
            assert gone not in waiting
        elif what == "silence":
            waiting.difference_update(places.leave_all(key))
        while (taken := places.take()) is not None:
            waiting.remove(taken)
            running.add(taken)
        for name in ("n0", "n1", "n2"):
            mine = [each for each in running if each.namespace == name]
            assert len(mine) <= 2
            assert len({each.object_uid for each in mine}) == len(mine)
            idle = {
                each
                for each in waiting
                if each.namespace == name and each.object_uid not in {m.object_uid for m in mine}
            }
            assert not idle or len(mine) == 2 or len(running) == 3
        assert len(running) <= 3
        assert {name for name, _ in places.waiting_since()} == {each.namespace for each in waiting}
