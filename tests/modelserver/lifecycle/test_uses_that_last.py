"""How long the oldest use has held the model, where it was begun, and what its end by hand means."""

import threading

import pytest
from dormouse_modelserver import Model, ModelNotHeld, Residency, ResidencyManager
from dormouse_modelserver.server.exposition import render_metrics
from torch import nn

from tests.waiting import until

from .conftest import ask

TTS = Model[nn.Linear]


def exported(manager: ResidencyManager) -> float:
    lines = render_metrics(manager, None).decode().splitlines()
    (line,) = [one for one in lines if one.startswith("dormouse_model_oldest_use_timestamp_seconds{")]
    return float(line.rpartition(" ")[2])


def test_the_oldest_use_counts_and_none_is_none(manager: ResidencyManager, tts: TTS) -> None:
    assert (tts.snapshot().oldest_use_seconds, exported(manager)) == (None, 0)
    with tts.on_gpu():
        began = exported(manager)
        until(lambda: (tts.snapshot().oldest_use_seconds or 0) > 0.05)
        with tts.on_gpu():
            assert exported(manager) == began > 0
    assert (tts.snapshot().oldest_use_seconds, exported(manager)) == (None, 0)


def test_it_is_known_which_line_of_which_thread_holds_it(tts: TTS) -> None:
    @tts.uses_gpu
    def say(model: nn.Linear) -> str:
        return str(tts._slot.uses()[-1].entry)

    seen: list[str] = []

    def work() -> None:
        with tts.on_gpu():
            seen.append(str(tts._slot.uses()[0].entry))
        seen.append(say())

    thread = threading.Thread(target=work, name="worker-7")
    thread.start()
    thread.join(20)
    here, first = __file__, work.__code__.co_firstlineno
    assert seen[0] == f"thread worker-7, {here}:{first + 1}"
    assert seen[1].startswith(f"thread worker-7, {here}:")
    assert "uses_gpu.py" not in seen[1]


def test_ended_by_hand_the_model_leaves_and_its_work_is_refused_and_its_own_end_counts_nothing(tts: TTS) -> None:
    with tts.on_gpu() as model:
        (use,) = tts._slot.uses()
        tts._slot.end_by_hand(use.number)
        tts._slot.end_by_hand(use.number)
        assert tts.snapshot().in_flight == 0
        tts.move_to(Residency.CPU)
        with pytest.raises(ModelNotHeld):
            ask(model, 1)
        with tts.on_gpu() as again:
            assert ask(again, 1) == 3
            assert tts.snapshot().in_flight == 1
    assert tts.snapshot().in_flight == 0


def test_a_use_that_ends_by_hand_is_no_other_ones_end(tts: TTS) -> None:
    with tts.on_gpu() as model:
        with tts.on_gpu():
            tts._slot.end_by_hand(tts._slot.uses()[1].number)
        assert tts.snapshot().in_flight == 1
        assert ask(model, 1) == 3
        tts._slot.end_by_hand(10**9)
        assert tts.snapshot().in_flight == 1
