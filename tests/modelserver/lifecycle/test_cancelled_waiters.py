"""The three ways to get the async side wrong, each of which was seen to happen elsewhere."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from dormouse_modelserver import Model, ModelBusy, Residency
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from torch import nn

from tests.waiting import auntil

from .conftest import Loads, Stop, ask

TTS = Model[nn.Linear]


async def use(tts: TTS, value: float = 1) -> float:
    async with tts.on_gpu() as model:
        await asyncio.sleep(0)
        return ask(model, value)


async def test_a_waiter_cancelled_before_the_wake_leaves_nothing_behind(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()
    waiters = [asyncio.create_task(use(tts)) for _ in range(5)]
    await auntil(lambda: tts.snapshot().waiting == 5)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    assert all(waiter.cancelled() for waiter in waiters)
    assert tts.snapshot().waiting == 0
    loads.may_go_on.set()
    await auntil(lambda: tts.snapshot().residency is Residency.GPU)
    assert tts.snapshot().in_flight == 0
    await tts.amove_to(Residency.CPU)


async def test_a_waiter_cancelled_after_its_use_was_granted_hands_it_back(tts: TTS, loads: Loads) -> None:
    """The loop is kept busy from before the grant until after it, so the waiter can't have noticed it."""
    loads.may_go_on.clear()
    waiter = asyncio.create_task(use(tts))
    await auntil(lambda: tts.snapshot().waiting == 1)
    loads.may_go_on.set()
    while tts.snapshot().in_flight == 0:
        pass
    assert not waiter.done()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert tts.snapshot().in_flight == 0
    await tts.amove_to(Residency.CPU)


async def test_a_task_cancelled_while_it_uses_the_model_lets_go(tts: TTS) -> None:
    entered = asyncio.Event()

    async def forever() -> None:
        async with tts.on_gpu():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await entered.wait()
    assert tts.snapshot().in_flight == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert tts.snapshot().in_flight == 0


def test_a_loop_that_ended_while_waiting_leaves_nothing_behind(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()

    async def briefly() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(use(tts), 0.05)

    asyncio.run(briefly())
    loads.may_go_on.set()
    tts.move_to(Residency.GPU)
    assert tts.snapshot().in_flight == 0
    tts.move_to(Residency.CPU)


async def test_nested_use_joins_while_somebody_asks_for_a_demotion(tts: TTS) -> None:
    async with tts.on_gpu():
        with pytest.raises(ModelBusy):
            await tts.amove_to(Residency.CPU)
        async with asyncio.timeout(5), tts.on_gpu() as model:
            assert ask(model, 1) == 3
        with pytest.raises(ModelBusy):
            await tts.amove_to(Residency.UNLOADED)
        with tts.on_gpu() as model:
            assert ask(model, 1) == 3
    await tts.amove_to(Residency.CPU)


def test_nested_use_in_threads_joins_while_demotions_are_asked_for_all_the_time(tts: TTS) -> None:
    enough = threading.Event()

    def demote() -> int:
        refused = 0
        while not enough.is_set():
            try:
                tts.move_to(Residency.CPU)
            except ModelBusy:
                refused += 1
        return refused

    def nest() -> None:
        for _ in range(30):
            with tts.on_gpu(timeout=20), tts.on_gpu(timeout=1) as model, tts.on_gpu(timeout=1):
                assert ask(model, 2) == 5

    with ThreadPoolExecutor(3) as pool:
        demoting = pool.submit(demote)
        nesting = [pool.submit(nest) for _ in range(2)]
        try:
            for work in nesting:
                work.result(30)
        finally:
            enough.set()
        demoting.result(10)
    assert tts.snapshot().in_flight == 0


async def test_two_hundred_waiters_do_not_starve_the_wake(tts: TTS, device: SimDevice) -> None:
    """With an executor of one thread: waiters and the wake must need none of its threads."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    stop = device.faults.before_copy_in = Stop()
    waiters = [asyncio.create_task(use(tts, value)) for value in range(200)]
    await auntil(lambda: tts.snapshot().waiting == 200)
    stop.go()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*waiters) == [2 * value + 1 for value in range(200)]
    assert stop.times == 1
