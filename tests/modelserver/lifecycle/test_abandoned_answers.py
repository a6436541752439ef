"""A use that the garbage collector ends, wherever it happens to run: also where the slot's own lock is held."""

import gc
import threading
from collections.abc import Iterator

from dormouse_modelserver import Model
from torch import nn

from tests.waiting import until

from .conftest import ask


class Listener:
    """Part of a cycle, so that only a collection ends what it listens to."""

    def __init__(self, answer: Iterator[float]) -> None:
        self.answer, self.itself = answer, self
        next(answer)


def test_collected_while_the_slots_lock_is_held_it_ends_elsewhere(tts: Model[nn.Linear]) -> None:
    @tts.uses_gpu
    def stream(model: nn.Linear) -> Iterator[float]:
        while True:
            yield ask(model, 1)

    gc.collect()
    gc.disable()
    try:
        Listener(stream())
        assert tts.snapshot().in_flight == 1
        collected = threading.Event()

        def collect_inside() -> None:
            with tts._slot._state.lock:
                gc.collect()
            collected.set()

        threading.Thread(target=collect_inside, daemon=True).start()
        assert collected.wait(20), "it waits for a lock that its own thread holds"
    finally:
        gc.enable()
    until(lambda: tts.snapshot().in_flight == 0)


def test_a_closed_answer_ends_at_once(tts: Model[nn.Linear]) -> None:
    @tts.uses_gpu
    def stream(model: nn.Linear) -> Iterator[float]:
        yield ask(model, 1)
        yield ask(model, 2)

    answer = stream()
    next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert tts.snapshot().in_flight == 0
