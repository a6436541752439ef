"""A wake on a full device: idle models leave, then it waits as long as somebody does, then it says what lacked."""

import threading
from collections.abc import Callable

import pytest
from dormouse_contract import Residency, Trigger
from dormouse_modelserver import DeviceFull, Model, NoRoom, QueueFull, ResidencyManager, WakeTimeout
from torch import nn

from tests.waiting import until

from .conftest import Loads, Manage, ask, load_doubler

# One doubler takes 512 bytes.
_ONE = "sim:900"


@pytest.fixture
def pair(manage: Manage) -> tuple[Model[nn.Linear], Model[nn.Linear]]:
    manager = manage(_ONE, wake_budget=20)
    return manager.register("tts", load_doubler), manager.register("asr", load_doubler)


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_an_idle_model_leaves_for_the_one_that_is_asked(pair: tuple[Model[nn.Linear], Model[nn.Linear]]) -> None:
    tts, asr = pair
    for model, other in ((tts, asr), (asr, tts), (tts, asr)):
        with model.on_gpu() as linear:
            assert ask(linear, 3) == 7
        assert other.snapshot().residency is not Residency.GPU
    last = asr.snapshot().last_transition
    assert last is not None
    assert (last.to, last.trigger) == (Residency.CPU, Trigger.PRESSURE)


def test_a_model_in_use_is_waited_for(pair: tuple[Model[nn.Linear], Model[nn.Linear]]) -> None:
    tts, asr = pair
    answers: list[float] = []

    def use() -> None:
        with asr.on_gpu() as linear:
            answers.append(ask(linear, 1))

    with tts.on_gpu():
        request = started(use)
        until(lambda: asr.snapshot().waiting == 1)
        assert not answers
    request.join(10)
    assert answers == [3.0]


def test_at_the_deadline_the_error_is_a_timeout_that_names_need_and_room(
    pair: tuple[Model[nn.Linear], Model[nn.Linear]],
) -> None:
    tts, asr = pair
    with tts.on_gpu():
        with pytest.raises(WakeTimeout, match="room for 388 bytes, 512 are needed") as late:
            asr.on_gpu(timeout=0.5).__enter__()
        until(lambda: asr.snapshot().transition is None)
    assert isinstance(late.value, NoRoom)
    assert isinstance(late.value, DeviceFull)
    assert (late.value.need_bytes, late.value.room_bytes) == (512, 388)
    assert asr.snapshot().residency is Residency.CPU, "the load was done and only room lacked"
    with asr.on_gpu() as linear:
        assert ask(linear, 1) == 3


def test_a_model_pinned_by_hand_stays(pair: tuple[Model[nn.Linear], Model[nn.Linear]]) -> None:
    tts, asr = pair
    tts.move_to(Residency.GPU)
    tts._slot.pin_by_hand(True)
    with pytest.raises(DeviceFull):
        asr.move_to(Residency.GPU)
    assert tts.snapshot().residency is Residency.GPU


def test_what_would_not_fit_on_an_empty_device_sends_nobody_away(manage: Manage) -> None:
    manager = manage(_ONE, wake_budget=20)
    tts = manager.register("tts", load_doubler)
    huge = manager.register("huge", lambda: nn.Linear(64, 64))
    tts.move_to(Residency.GPU)
    with pytest.raises(DeviceFull, match="room for 388 bytes"):
        huge.on_gpu().__enter__()
    assert tts.snapshot().residency is Residency.GPU


def test_more_waiters_than_may_wait_are_refused_at_once(manage: Manage, loads: Loads) -> None:
    manager: ResidencyManager = manage(max_waiting=3)
    tts = manager.register("tts", loads)
    loads.may_go_on.clear()
    holds = [tts.on_gpu(20) for _ in range(3)]
    requests = [started(hold.__enter__) for hold in holds]
    until(lambda: tts.snapshot().waiting == 3)
    with pytest.raises(QueueFull, match="3 requests wait for model 'tts' already"):
        tts.on_gpu().__enter__()
    loads.may_go_on.set()
    for request in requests:
        request.join(10)
    assert tts.snapshot().in_flight == 3
