"""Models that don't fit together and are asked for all the time: each gets its turn, and every request is answered."""

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from dormouse_contract import Residency, Trigger
from dormouse_contract.wire import PolicyLoan
from dormouse_modelserver import ConfigurationError, DeviceFull, Model, NoRoom, ResidencyManager, WakeTimeout
from torch import nn

from tests.waiting import until

from .conftest import Manage, ask, load_doubler

# One doubler takes 512 bytes.
_ONE = "sim:900"
GPU, CPU = Residency.GPU, Residency.CPU


def register(manager: ResidencyManager, *names: str, **settings: float) -> list[Model[nn.Linear]]:
    return [manager.register(name, load_doubler, **settings) for name in names]  # type: ignore[arg-type]


@contextmanager
def always_in_use(*models: Model[nn.Linear], callers: int = 3, timeout: float = 30) -> Iterator[list[str]]:
    """Overlapping uses, so that there is never a moment of rest. Gives who was answered, in order."""
    stop, answered, problems = threading.Event(), list[str](), list[BaseException]()

    def call(model: Model[nn.Linear], number: int) -> None:
        try:
            while not stop.is_set():
                with model.on_gpu(timeout) as linear:
                    assert ask(linear, number) == 2 * number + 1
                    stop.wait(0.01 + 0.005 * number)
                answered.append(model.name)
        except BaseException as problem:
            problems.append(problem)

    threads = [
        threading.Thread(target=call, args=(model, number), daemon=True)
        for model in models
        for number in range(callers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout)
    assert problems == []


def use(model: Model[nn.Linear], timeout: float = 20) -> None:
    with model.on_gpu(timeout) as linear:
        assert ask(linear, 3) == 7


def swaps(*models: Model[nn.Linear]) -> int:
    return sum(
        1
        for model in models
        for ended in model._slot.view.recent_transitions()
        if (ended.to, ended.trigger, ended.outcome) == (CPU, Trigger.PRESSURE, "ok")
    )


def test_one_that_is_never_at_rest_lets_another_in_after_its_turn_and_comes_back(manage: Manage) -> None:
    busy, other = register(manage(_ONE, turn=0.3), "busy", "other")
    with always_in_use(busy) as answered:
        until(lambda: len(answered) > 5)
        began = time.monotonic()
        with other.on_gpu(timeout=20) as linear:
            assert time.monotonic() - began >= 0.3
            assert ask(linear, 1) == 3
        before = len(answered)
        until(lambda: len(answered) > before + 5, within_seconds=20)
    assert swaps(busy) == 1


def test_a_request_with_little_patience_gets_its_turn_in_time(manage: Manage) -> None:
    busy, other = register(manage(_ONE), "busy", "other")
    with always_in_use(busy) as answered:
        until(lambda: len(answered) > 5)
        with other.on_gpu(timeout=4) as linear:
            assert ask(linear, 2) == 5


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")], ids=["two", "three"])
def test_a_storm_on_models_that_do_not_fit_together_loses_nothing(manage: Manage, names: tuple[str, ...]) -> None:
    models = register(manage(_ONE, turn=0.5), *names)
    began = time.monotonic()
    with always_in_use(*models, timeout=9) as answered:
        until(lambda: min(Counter(answered)[name] for name in names) > 50, within_seconds=100)
        until(lambda: swaps(*models) >= 2 * len(names), within_seconds=100)
        seconds = time.monotonic() - began
    assert swaps(*models) <= 4 * seconds + len(names), "no thrashing"


def test_the_turn_goes_to_who_waited_first(manage: Manage) -> None:
    busy, first, second = register(manage(_ONE, turn=1.0), "busy", "first", "second")
    order: list[str] = []

    def note(model: Model[nn.Linear]) -> None:
        with model.on_gpu(timeout=30):
            order.append(model.name)

    with always_in_use(busy) as answered:
        until(lambda: len(answered) > 5)
        requests = []
        for model in (first, second):
            requests.append(threading.Thread(target=note, args=(model,), daemon=True))
            requests[-1].start()
            until(lambda model=model: model.snapshot().waiting == 1)  # type: ignore[misc]
        for request in requests:
            request.join(30)
    assert order == ["first", "second"]


def test_an_async_storm_loses_nothing(manage: Manage) -> None:
    models = register(manage(_ONE, turn=0.5), "a", "b")
    counts: Counter[str] = Counter()

    async def call(model: Model[nn.Linear]) -> None:
        while min(counts[model.name] for model in models) < 30:
            async with model.on_gpu(timeout=30) as linear:
                assert ask(linear, 1) == 3
                await asyncio.sleep(0.01)
            counts[model.name] += 1

    async def storm() -> None:
        await asyncio.gather(*(call(model) for model in models for _ in range(3)))

    asyncio.run(asyncio.wait_for(storm(), 100))


def test_a_use_nested_in_a_held_one_is_admitted_while_the_model_is_drained(manage: Manage) -> None:
    busy, other = register(manage(_ONE, turn=0.1), "busy", "other")
    asking = threading.Thread(target=lambda: use(other, 20), daemon=True)
    with busy.on_gpu():
        asking.start()
        until(lambda: busy._slot.view.drain_ends_at < math.inf)
        with pytest.raises(WakeTimeout), ThreadOf(lambda: use(busy, 0.05)) as outside:
            outside.result()
        with busy.on_gpu(timeout=0.5) as nested:
            assert ask(nested, 4) == 9
        assert other.snapshot().residency is not GPU
    asking.join(20)
    assert other.snapshot().last_transition is not None
    assert not asking.is_alive()


class ThreadOf:
    """What a function gives, or raises, in a thread that holds nothing."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work, self._error = work, list[BaseException]()

    def __enter__(self) -> "ThreadOf":
        def run() -> None:
            try:
                self._work()
            except BaseException as error:
                self._error.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(20)
        return self

    def result(self) -> None:
        for error in self._error:
            raise error

    def __exit__(self, *error: object) -> None: ...


def test_a_drain_that_runs_out_lets_everybody_in_and_is_told_and_not_tried_again_soon(manage: Manage) -> None:
    manager = manage(_ONE, turn=0.2)
    busy, other = register(manager, "busy", "other")
    with busy.on_gpu() as held:
        waiting = threading.Thread(target=lambda: use(other, 20), daemon=True)
        waiting.start()
        until(lambda: busy._slot.view.drain_ends_at < math.inf)
        with ThreadOf(lambda: use(busy, 10)) as second:
            second.result()  # let in when the time was up
        assert ask(held, 1) == 3
        refused = [
            sample.value
            for family in manager.telemetry.registry.collect()
            for sample in family.samples
            if sample.name == "dormouse_transitions_total" and sample.labels["outcome"] == "refused"
        ]
        assert refused == [1.0]
        assert busy._slot.view.drain_ends_at == math.inf
        assert not busy._slot.drain(1.0, "too soon")
        assert busy.snapshot().residency is GPU
    waiting.join(20)
    assert not waiting.is_alive(), "at the first moment of rest it had its room"


def test_when_the_one_that_waited_has_gone_everybody_is_let_in(manage: Manage) -> None:
    busy, other = register(manage(_ONE, turn=1.0, wake_budget=300), "busy", "other")
    with busy.on_gpu():
        with ThreadOf(lambda: use(other, 2.2)) as asked, pytest.raises(NoRoom):
            asked.result()
        with ThreadOf(lambda: use(busy, 10)) as again:
            again.result()


def test_a_request_that_is_itself_in_the_way_is_refused_at_once_and_names_both(manage: Manage) -> None:
    first, second = register(manage(_ONE), "first", "second")
    began = time.monotonic()
    with first.on_gpu(), pytest.raises(NoRoom, match="'second' has no room beside model 'first'"):
        second.on_gpu(timeout=30).__enter__()
    assert time.monotonic() - began < 10
    with second.on_gpu() as linear:
        assert ask(linear, 1) == 3


def test_two_requests_that_hold_what_the_other_needs_are_both_answered(manage: Manage) -> None:
    manager = manage("sim:1100", turn=0.3)
    one, other = register(manager, "one", "other")
    large = [
        manager.register(name, lambda: nn.Linear(8, 8)) for name in ("large", "vast")
    ]  # each needs more than is left
    held = threading.Barrier(2, timeout=20)
    ended: list[str] = []

    def cross(holds: Model[nn.Linear], wants: Model[nn.Linear]) -> None:
        with holds.on_gpu(timeout=20):
            held.wait()
            try:
                with wants.on_gpu(timeout=20):
                    ended.append("got it")
            except NoRoom:
                ended.append("refused")

    threads = [threading.Thread(target=cross, args=args, daemon=True) for args in ((one, large[0]), (other, large[1]))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ended) == 2
    assert "refused" in ended
    assert time.monotonic() - began < 20, "before their patience was over"


def test_someone_else_who_waits_for_it_is_not_refused_with_the_one_in_the_way(manage: Manage) -> None:
    first, second = register(manage(_ONE), "first", "second")
    answers: list[float] = []

    def innocent() -> None:
        with second.on_gpu(timeout=20) as linear:
            answers.append(ask(linear, 3))

    waiting = threading.Thread(target=innocent, daemon=True)
    with first.on_gpu():
        waiting.start()
        until(lambda: second.snapshot().waiting == 1)
        with pytest.raises(NoRoom):
            second.on_gpu(timeout=20).__enter__()
    waiting.join(20)
    assert answers == [7.0]


def test_without_a_waiter_nobody_leaves_and_nobody_is_drained(manage: Manage) -> None:
    idle, other = register(manage(_ONE, turn=0.1), "idle", "other")
    with idle.on_gpu():
        pass
    for trigger in (Trigger.MANUAL, Trigger.SCHEDULE):
        with pytest.raises(DeviceFull):
            other.move_to(GPU, trigger=trigger)
    assert idle.snapshot().residency is GPU
    with other.on_gpu() as linear:
        assert ask(linear, 1) == 3


def test_beside_one_that_may_not_leave_nobody_is_sent_away_in_vain(manage: Manage) -> None:
    manager = manage("sim:1100", turn=0.1)
    pinned, idle = register(manager, "pinned", "idle")
    huge = manager.register("huge", lambda: nn.Linear(12, 12))  # 1024 bytes: it needs both to leave
    for model in (pinned, idle):
        with model.on_gpu():
            pass
    manager.slot("pinned").pin_by_hand(True)
    with pytest.raises(NoRoom):
        huge.on_gpu(timeout=0.6).__enter__()
    assert (pinned.snapshot().residency, idle.snapshot().residency) == (GPU, GPU)
    assert idle._slot.drain(1.0, "it was not drained before")


def test_a_pinned_model_is_never_drained(manage: Manage) -> None:
    manager = manage(_ONE, turn=0.1)
    pinned, other = register(manager, "pinned", "other")
    manager.slot("pinned").pin_by_hand(True)
    with pinned.on_gpu() as linear:
        with ThreadOf(lambda: use(other, 0.6)) as asked, pytest.raises(NoRoom):
            asked.result()
        assert ask(linear, 1) == 3
        with ThreadOf(lambda: use(pinned, 0.05)) as another:
            another.result()


def test_with_turn_never_it_waits_for_a_moment_of_rest(manage: Manage) -> None:
    busy, other = register(manage(_ONE, turn=math.inf), "busy", "other")
    with always_in_use(busy) as answered:
        until(lambda: len(answered) > 5)
        with pytest.raises(NoRoom):
            other.on_gpu(timeout=1.5).__enter__()


def test_a_lent_policy_sets_the_turn_and_the_snapshot_shows_it(manage: Manage) -> None:
    manager = manage(_ONE)
    (tts,) = register(manager, "tts")
    assert tts.snapshot().turn_seconds == 10
    manager.slot("tts").lend(PolicyLoan(turn_seconds=3, valid_for_seconds=60))
    assert tts.snapshot().turn_seconds == 3
    (never,) = register(manager, "never", turn=math.inf)
    assert never.snapshot().turn_seconds is None


@pytest.mark.parametrize("turn", [0, -1, math.nan, "10", True])
def test_a_turn_that_can_not_work_is_refused(manage: Manage, turn: object) -> None:
    with pytest.raises(ConfigurationError, match="turn"):
        manage(_ONE, turn=turn)
    with pytest.raises(ConfigurationError, match="turn"):
        register(manage(_ONE), "tts", turn=turn)  # type: ignore[arg-type]
