"""At shutdown nothing new is invited, and every request that was taken is answered, asleep or not."""

from dormouse_modelserver import Model, Residency, ResidencyManager
from torch import nn

from .conftest import ask

TTS = Model[nn.Linear]


def test_a_request_taken_before_the_end_still_wakes_its_model(tts: TTS, manager: ResidencyManager) -> None:
    manager.drain()
    assert manager.not_ready_because() == "draining"
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3


def test_a_model_that_is_awake_goes_on_answering(tts: TTS, manager: ResidencyManager) -> None:
    tts.move_to(Residency.GPU)
    manager.drain()
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3
