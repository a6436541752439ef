"""Everything at once: threads, tasks, random cancels and random demotions. Every answer right, nothing left over."""

import asyncio
import contextlib
import random
import threading
import time

import pytest
from dormouse_modelserver import Model, ModelBusy, Residency, ResidencyManager
from torch import nn

from .conftest import Loads, ask

_SECONDS = 60.0
# On a busy machine it goes on until there was enough of everything, so long at most.
_AT_MOST_SECONDS = 240.0
_ENOUGH = 20
_THREADS = 32
_TASKS = 200
# A storm for a while after which it is calm for long enough that everybody has been served.
_CALM_SECONDS = 30.0


class Tally:
    def __init__(self) -> None:
        self.asked = self.right = self.wrong = self.cancelled = self.demoted = 0
        self.lock = threading.Lock()
        self._began = time.monotonic()

    @property
    def goes_on(self) -> bool:
        seconds = time.monotonic() - self._began
        enough = min(self.right, self.cancelled, self.demoted) > _ENOUGH
        return seconds < (_SECONDS if enough else _AT_MOST_SECONDS)

    def asks(self) -> None:
        with self.lock:
            self.asked += 1

    def answered(self, value: int, answer: float) -> None:
        with self.lock:
            self.right += answer == 2 * value + 1
            self.wrong += answer != 2 * value + 1


def use_from_threads(tts: Model[nn.Linear], tally: Tally, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a storm, no secret
    while tally.goes_on:
        value = chance.randrange(1000)
        tally.asks()
        with tts.on_gpu(timeout=_CALM_SECONDS) as model:
            if chance.random() < 0.3:
                with tts.on_gpu() as nested:
                    assert nested is model
            tally.answered(value, ask(model, value))
        time.sleep(chance.random() * 0.05)


async def use_from_tasks(tts: Model[nn.Linear], tally: Tally) -> None:
    chance = random.Random(0)  # noqa: S311

    async def one(value: int) -> None:
        async with tts.on_gpu(timeout=_CALM_SECONDS) as model:
            await asyncio.sleep(0)
            tally.answered(value, ask(model, value))

    async def many() -> None:
        while tally.goes_on:
            tally.asks()
            use = asyncio.create_task(one(chance.randrange(1000)))
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.005)
                use.cancel()
            try:
                await use
            except asyncio.CancelledError:
                tally.cancelled += 1
            await asyncio.sleep(chance.random() * 0.1)

    await asyncio.gather(*(many() for _ in range(_TASKS)))


def demote(tts: Model[nn.Linear], tally: Tally) -> None:
    chance = random.Random(1)  # noqa: S311
    while tally.goes_on:
        with contextlib.suppress(ModelBusy):
            tts.move_to(chance.choice([Residency.CPU, Residency.CPU, Residency.UNLOADED]))
            tally.demoted += 1
        time.sleep(chance.random() * 0.002)


@pytest.mark.timeout(_AT_MOST_SECONDS + 2 * _CALM_SECONDS)
def test_a_storm_of_uses_cancels_and_demotions(tts: Model[nn.Linear], manager: ResidencyManager, loads: Loads) -> None:
    tally = Tally()
    failures: list[BaseException] = []

    def guarded(work: object, *arguments: object) -> None:
        try:
            work(*arguments)  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    works: list[tuple[object, ...]] = [(use_from_threads, tts, tally, seed) for seed in range(_THREADS)]
    works += [(demote, tts, tally), (lambda: asyncio.run(use_from_tasks(tts, tally)),)]
    threads = [threading.Thread(target=guarded, args=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_AT_MOST_SECONDS + _CALM_SECONDS)
        assert not thread.is_alive(), "it hangs"
    assert failures == []
    assert tally.wrong == 0
    assert tally.right + tally.cancelled >= tally.asked, "every request was answered, or its asker left"
    assert min(tally.right, tally.cancelled, tally.demoted) > _ENOUGH, vars(tally)
    left = tts.snapshot()
    assert (left.in_flight, left.waiting, left.transition) == (0, 0, None)
    counted = {tuple(s.labels.values())[1:]: s.value for s in transitions(manager) if s.labels["outcome"] == "ok"}
    wakes = sum(value for key, value in counted.items() if key[1] == "GPU")
    sleeps = sum(value for key, value in counted.items() if key[0] == "GPU")
    assert wakes - sleeps == (left.residency is Residency.GPU), "one wake for each sleep"
    unloads = sum(value for key, value in counted.items() if key[1] == "Unloaded")
    assert loads.count - unloads == (left.residency is not Residency.UNLOADED), "one load for each unload"
    tts.move_to(Residency.UNLOADED)
    assert manager.device.memory().used == 0


def transitions(manager: ResidencyManager):  # type: ignore[no-untyped-def]
    families = manager.telemetry.registry.collect()
    return [s for family in families for s in family.samples if s.name == "dormouse_transitions_total"]
