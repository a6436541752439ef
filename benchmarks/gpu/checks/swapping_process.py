"""One of two processes that swap: `python -m … DEVICE ARBITER BYTES NUMBER`, driven by words on stdin.

`go` begins the traffic, `count` is answered with how often the model woke, `stop` ends it with all that was seen. It
ends when stdin does.
"""

import json
import random
import sys
import threading
import time
from typing import Any

import torch
from dormouse_modelserver import DormouseError, Residency, ResidencyManager

from .comparing import same
from .models import ask, plain, ready

_CALLERS = 2
_MOST_PAUSE_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0


class Traffic:
    """Random requests from a few threads with pauses, each answer compared."""

    def __init__(self, model: Any, right: torch.Tensor) -> None:
        self._model, self._right = model, right
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.waits: list[float] = []
        self.failed: list[str] = []
        self.wrong = 0

    def begin(self, seed: int) -> None:
        for number in range(_CALLERS):
            chance = random.Random(100 * seed + number)  # noqa: S311 - traffic, no secret
            self._threads.append(threading.Thread(target=self._call, args=(chance,), daemon=True))
            self._threads[-1].start()

    def end(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)

    def _call(self, chance: random.Random) -> None:
        while not self._stopped.wait(chance.random() * _MOST_PAUSE_SECONDS):
            started = time.monotonic()
            try:
                with self._model.on_gpu(timeout=_PATIENCE_SECONDS) as held:
                    waited = time.monotonic() - started
                    right = same(ask(held), self._right)
            except (DormouseError, RuntimeError) as error:
                with self._lock:
                    self.failed.append(f"{type(error).__name__}: {error}"[:300])
                continue
            with self._lock:
                self.waits.append(waited)
                self.wrong += not right


def main(arguments: list[str]) -> int:
    device, arbiter, nbytes, number = arguments
    ready(device)
    residency = ResidencyManager(device, socket="", gpu_arbiter=arbiter)
    wakes = 0

    def woke(held: object) -> None:
        nonlocal wakes
        wakes += 1

    model = residency.register("it", plain(int(nbytes), seed=int(number)), warm_up=woke)
    with model.on_gpu(timeout=_PATIENCE_SECONDS) as held:
        right = ask(held)
    model.move_to(Residency.CPU)
    traffic = Traffic(model, right)
    _say(ready=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "go":
            wakes = 0
            traffic.begin(int(number))
        elif word == "count":
            _say(wakes=wakes)
        elif word == "stop":
            traffic.end()
            _say(wakes=wakes, waits=traffic.waits, failed=traffic.failed, wrong=traffic.wrong)
    return 0  # not before: until then the other one may have to ask for room


def _say(**said: Any) -> None:
    print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
