"""`on_gpu()` in threads and in asyncio: it wakes the model, counts as use, and lets go whatever happens."""

import asyncio
import threading

import pytest
import torch
from dormouse_modelserver import LoadFailed, Model, ModelNotHeld, Residency, WakeTimeout
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from torch import nn

from tests.waiting import auntil, until

from .conftest import Loads, Stop, ask

TTS = Model[nn.Linear]


def test_nothing_is_loaded_before_the_first_use(tts: TTS, loads: Loads) -> None:
    assert (tts.snapshot().residency, loads.count) == (Residency.UNLOADED, 0)
    with tts.on_gpu() as model:
        assert ask(model, 3) == 7
        assert (tts.snapshot().residency, tts.snapshot().in_flight) == (Residency.GPU, 1)
    assert (tts.snapshot().in_flight, loads.count) == (0, 1)


async def test_the_same_in_async_code(tts: TTS, loads: Loads) -> None:
    async with tts.on_gpu() as model:
        assert ask(model, 3) == 7
        assert tts.snapshot().in_flight == 1
    assert (tts.snapshot().in_flight, loads.count) == (0, 1)


@pytest.mark.parametrize("tier", [Residency.CPU, Residency.UNLOADED])
def test_a_sleeping_model_wakes_for_a_use(tts: TTS, tier: Residency) -> None:
    for _ in range(3):
        with tts.on_gpu() as model:
            assert ask(model, 5) == 11
        tts.move_to(tier)
        assert tts.snapshot().residency is tier


def test_a_hold_can_be_entered_again_and_uses_join(tts: TTS) -> None:
    hold = tts.on_gpu()
    with hold as model, hold as same:
        assert model is same
        assert tts.snapshot().in_flight == 2
    assert tts.snapshot().in_flight == 0


def test_an_error_in_the_users_forward_lets_go_and_is_counted(tts: TTS) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), tts.on_gpu() as model:
        model(torch.ones(1, 3))
    assert tts.snapshot().in_flight == 0
    tts.move_to(Residency.CPU)


async def test_an_error_in_async_code_lets_go(tts: TTS) -> None:
    with pytest.raises(KeyError):
        async with tts.on_gpu():
            raise KeyError("voice")
    await tts.amove_to(Residency.CPU)


def test_using_the_object_outside_says_what_to_do(tts: TTS) -> None:
    with tts.on_gpu() as model:
        pass
    for tier in (Residency.GPU, Residency.CPU):
        tts.move_to(tier)
        with pytest.raises(ModelNotHeld, match="on_gpu"):
            model(torch.ones(1, 4))


def test_an_object_of_before_an_unload_stays_shut_while_the_new_one_is_held(tts: TTS) -> None:
    with tts.on_gpu() as old:
        pass
    tts.move_to(Residency.UNLOADED)
    with tts.on_gpu() as new:
        assert ask(new, 1) == 3
        with pytest.raises(ModelNotHeld, match="anew"):
            old(torch.ones(1, 4))


async def test_a_sync_with_in_a_running_loop_raises_rather_than_blocks_it(tts: TTS) -> None:
    with pytest.raises(RuntimeError, match="async with"), tts.on_gpu():
        pass
    assert tts.snapshot().in_flight == 0
    async with tts.on_gpu() as outer:
        with tts.on_gpu() as inner:
            assert inner is outer
    with pytest.raises(RuntimeError, match="async with"), tts.on_gpu():
        pass


async def test_a_hundred_arrivals_cause_one_wake(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()

    async def one(value: int) -> float:
        async with tts.on_gpu() as model:
            return ask(model, value)

    arrivals = [asyncio.create_task(one(value)) for value in range(100)]
    await auntil(lambda: tts.snapshot().waiting == 100)
    loads.may_go_on.set()
    assert await asyncio.gather(*arrivals) == [2 * value + 1 for value in range(100)]
    assert loads.count == 1
    assert (tts.snapshot().in_flight, tts.snapshot().waiting) == (0, 0)


def test_a_wake_budget_used_up_says_when_to_come_back_and_the_wake_goes_on(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()
    with pytest.raises(WakeTimeout, match=r"within 0.05 s \(loading since 0 s ago\); the wake goes on") as late:
        tts.on_gpu(timeout=0.05).__enter__()
    assert late.value.retry_after_seconds >= 1
    assert (tts.snapshot().waiting, tts.snapshot().in_flight) == (0, 0)
    loads.may_go_on.set()
    until(lambda: tts.snapshot().residency is Residency.GPU)
    assert loads.count == 1


async def test_a_wake_budget_in_async_code(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()
    with pytest.raises(WakeTimeout) as late:
        async with tts.on_gpu(timeout=0.05):
            pass
    assert late.value.retry_after_seconds >= 1
    loads.may_go_on.set()
    async with tts.on_gpu(timeout=10) as model:
        assert ask(model, 1) == 3
    assert loads.count == 1


def test_a_timeout_without_end_is_possible(tts: TTS) -> None:
    with tts.on_gpu(timeout=float("inf")) as model:
        assert ask(model, 1) == 3


async def test_a_failed_wake_tells_all_who_wait_and_the_next_use_tries_again(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()
    loads.fails = OSError("disk")
    told: list[BaseException] = []

    async def one() -> None:
        async with tts.on_gpu():
            raise AssertionError("not to be had")

    def threaded() -> None:
        try:
            tts.on_gpu().__enter__()
        except LoadFailed as error:
            told.append(error)

    thread = threading.Thread(target=threaded)
    thread.start()
    tasks = [asyncio.create_task(one()) for _ in range(5)]
    await auntil(lambda: tts.snapshot().waiting == 6)
    loads.may_go_on.set()
    told += [error for error in await asyncio.gather(*tasks, return_exceptions=True) if error is not None]
    thread.join(10)
    assert [type(error) for error in told] == [LoadFailed] * 6
    assert tts.snapshot().residency is Residency.UNLOADED
    last = tts.snapshot().last_transition
    assert last is not None
    assert last.outcome == "failed"
    loads.fails = None
    async with tts.on_gpu() as model:
        assert ask(model, 2) == 5


def test_a_load_that_calls_exit_is_a_failed_wake(tts: TTS, loads: Loads) -> None:
    loads.fails = SystemExit("no licence")
    with pytest.raises(LoadFailed, match="no licence"):
        tts.on_gpu(timeout=10).__enter__()
    loads.fails = None
    with tts.on_gpu(timeout=10) as model:
        assert ask(model, 2) == 5


def test_loaded_but_no_room_on_the_device_stays_in_host_ram_and_is_not_loaded_again(
    tts: TTS, loads: Loads, device: SimDevice
) -> None:
    device.faults.full_at_byte = 10
    with pytest.raises(Exception, match="room for 10 bytes"):
        tts.on_gpu(timeout=0.5).__enter__()
    until(lambda: tts.snapshot().transition is None)
    assert tts.snapshot().residency is Residency.CPU
    device.faults = SimFaults()
    with tts.on_gpu() as model:
        assert ask(model, 2) == 5
    assert loads.count == 1


def test_a_broken_first_restore_rolls_back_to_where_it_came_from(tts: TTS, device: SimDevice) -> None:
    device.faults.corrupt_copy_in_at_byte = 3
    with pytest.raises(Exception, match="other bytes arrived"):
        tts.on_gpu().__enter__()
    assert (tts.snapshot().residency, tts.snapshot().host_memory_bytes) == (Residency.UNLOADED, 0)
    device.faults = SimFaults()
    with tts.on_gpu() as model:
        assert ask(model, 2) == 5


def test_a_wake_under_way_shows_in_the_snapshot(tts: TTS, device: SimDevice) -> None:
    stop = device.faults.before_copy_in = Stop()
    thread = threading.Thread(target=tts.move_to, args=(Residency.GPU,))
    thread.start()
    assert stop.reached.wait(10)
    doing = tts.snapshot().transition
    assert doing is not None
    assert (doing.from_, doing.to, doing.trigger) == (Residency.UNLOADED, Residency.GPU, "Manual")
    stop.go()
    thread.join(10)
    assert tts.snapshot().transition is None
