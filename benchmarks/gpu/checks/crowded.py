"""Several models asked from threads and from tasks at once, while they are sent to sleep again and again."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver import DormouseError, ModelBusy, Residency, ResidencyManager
from torch import nn

from tests.modelserver.zoo import seeded

from ..reporting import Report
from .comparing import same
from .models import manager
from .twins import twin_on


def run(report: Report) -> None:
    with report.part("from threads under constant moves"):
        _threads(report)
    asyncio.run(_tasks(report))


def _threads(report: Report) -> None:
    seconds = report.on_gpu_or_sim(6, 1)
    report.step(f"threads and moves, {seconds} s")
    with manager(report) as residency:
        crowd = _Crowd(residency)
        ends = time.monotonic() + seconds

        def asking(seed: int) -> None:
            chance = random.Random(seed)  # noqa: S311 - traffic, no secret
            while time.monotonic() < ends:
                crowd.ask(chance.choice(crowd.names))

        workers = [threading.Thread(target=asking, args=(seed,)) for seed in range(8)]
        for worker in workers:
            worker.start()
        moves = crowd.disturb_until(ends)
        for worker in workers:
            worker.join()
    report.held(
        "from 8 threads under constant moves: all right", crowd.wrong == 0 and crowd.right > 0, crowd.summary(moves)
    )


async def _tasks(report: Report) -> None:
    seconds = report.on_gpu_or_sim(4, 1)
    report.step(f"tasks and moves, {seconds} s")
    with manager(report) as residency:
        crowd = _Crowd(residency)
        ends = time.monotonic() + seconds

        async def asking(seed: int) -> None:
            chance = random.Random(seed)  # noqa: S311 - traffic, no secret
            while time.monotonic() < ends:
                name = chance.choice(crowd.names)
                async with residency[name].on_gpu() as model:
                    crowd.count(name, crowd.answer(model))
                await asyncio.sleep(chance.random() * 0.01)

        moving = asyncio.create_task(asyncio.to_thread(crowd.disturb_until, ends))
        await asyncio.gather(*(asking(seed) for seed in range(50)))
        moves = await moving
    report.held(
        "from 50 tasks under constant moves: all right", crowd.wrong == 0 and crowd.right > 0, crowd.summary(moves)
    )


class _Crowd:
    """Four models on one manager, each with the answer of a twin."""

    def __init__(self, residency: ResidencyManager) -> None:
        self._residency, self._x = residency, torch.linspace(-1, 1, 4 * 256).reshape(4, 256)
        self._lock = threading.Lock()
        self.right = self.wrong = 0
        self._problems: list[str] = []
        device = residency.device.torch_device
        self._x = self._x.to(device)
        self.names, self._expected = ["a", "b", "c", "d"], dict[str, torch.Tensor]()
        for number, name in enumerate(self.names):
            load = _layers(number)
            residency.register(name, load)
            self._expected[name] = self.answer(twin_on(device, load)[0])

    def answer(self, model: nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return torch.as_tensor(model(self._x)).cpu()

    def ask(self, name: str) -> None:
        try:
            with self._residency[name].on_gpu() as model:
                self.count(name, self.answer(model))
        except (DormouseError, RuntimeError) as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        with self._lock:
            self.wrong += 1
            self._problems.append(f"{type(error).__name__}: {error}")

    def count(self, name: str, answer: torch.Tensor) -> None:
        right = same(answer, self._expected[name])
        with self._lock:
            self.right += right
            self.wrong += not right

    def disturb_until(self, ends: float) -> int:
        """Moves that were made; the others met somebody who used the model."""
        chance, made = random.Random(0), 0  # noqa: S311 - traffic, no secret
        while time.monotonic() < ends:
            to = chance.choice((Residency.CPU, Residency.CPU, Residency.UNLOADED))
            try:
                self._residency[chance.choice(self.names)].move_to(to)
                made += 1
            except ModelBusy:
                time.sleep(0.001)
        return made

    def summary(self, moves: int) -> str:
        return f"{self.right} right, {self.wrong} wrong, {moves} moves; {self._problems[:2]}"


# The seed is the process's, and models are loaded in threads.
_seeding = threading.Lock()


def _layers(number: int) -> Callable[[], Any]:
    def made() -> nn.Module:
        torch.manual_seed(100 + number)
        return nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.LayerNorm(512), nn.Linear(512, 256))

    def load() -> Any:
        with _seeding:
            return seeded(made)()

    return load
