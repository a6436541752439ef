"""At shutdown no new work is taken that needs a wake; what runs or waits is answered."""

import asyncio

import pytest
from dormouse_modelserver import Draining, Model, Residency, ResidencyManager
from torch import nn

from tests.modelserver.waiting import auntil

from .conftest import Loads, ask

TTS = Model[nn.Linear]


def test_a_use_that_needs_a_wake_is_refused(tts: TTS, manager: ResidencyManager, loads: Loads) -> None:
    manager.drain()
    with pytest.raises(Draining, match="shutting down"):
        tts.on_gpu().__enter__()
    assert (loads.count, tts.snapshot().in_flight, tts.snapshot().waiting) == (0, 0, 0)


async def test_who_waits_already_is_still_answered(tts: TTS, manager: ResidencyManager, loads: Loads) -> None:
    loads.may_go_on.clear()

    async def use() -> float:
        async with tts.on_gpu() as model:
            return ask(model, 1)

    waiter = asyncio.create_task(use())
    await auntil(lambda: tts.snapshot().waiting == 1)
    manager.drain()
    with pytest.raises(Draining):
        async with tts.on_gpu():
            pass
    loads.may_go_on.set()
    assert await waiter == 3


def test_a_model_that_is_awake_goes_on_answering(tts: TTS, manager: ResidencyManager) -> None:
    tts.move_to(Residency.GPU)
    manager.drain()
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3
