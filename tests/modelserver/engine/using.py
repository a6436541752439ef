"""Use of weights without a slot: the gate opened for a moment, as the slot does for a grant."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dormouse_contract import Residency
from dormouse_modelserver.engine.weights import Weights


@contextmanager
def held(weights: Weights[Any]) -> Iterator[Any]:
    assert weights.residency is Residency.GPU
    weights.gate.open = True
    try:
        yield weights.model
    finally:
        weights.gate.open = False


def on_gpu(weights: Weights[Any]) -> Weights[Any]:
    if weights.residency is Residency.UNLOADED:
        weights.load()
    if weights.residency is Residency.CPU:
        weights.restore()
    return weights
