"""Whoever keeps the error of a failed wake does not keep the model's memory with it."""

import gc
import weakref

import pytest
from dormouse_modelserver import ResidencyManager, TransitionFailed
from torch import nn

from .conftest import load_doubler


def test_a_failed_wake_lets_the_model_go(manager: ResidencyManager) -> None:
    made: list[weakref.ref[nn.Module]] = []

    def load() -> nn.Module:
        model = load_doubler()
        made.append(weakref.ref(model))
        return model

    def warm_up(model: nn.Module) -> None:
        raise ValueError("no such voice")

    tts = manager.register("tts", load=load, warm_up=warm_up)
    with pytest.raises(TransitionFailed, match="no such voice") as kept:
        tts.on_gpu().__enter__()
    gc.collect()
    assert made[0]() is None
    assert kept.value.__cause__ is not None, "where the user's code broke is still told"
