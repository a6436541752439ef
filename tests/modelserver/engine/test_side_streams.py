"""Work on streams of the app's own, which no fence sees, is over before the weights move or are summed."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import seeded

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]
load = seeded(lambda: nn.Linear(4, 4))


@pytest.mark.parametrize("move", ["offload", "unload"])
def test_a_late_write_is_waited_for_and_kept(make: Make, device: SimDevice, move: str) -> None:
    weights = on_gpu(make(load, unload_changes="discard"))
    go = threading.Event()
    with held(weights) as model:
        weight = model.weight.data
        device.run_late(lambda: go.wait(30), aside=True)
        device.run_late(functools.partial(weight.fill_, 3), aside=True)
    assert device.fence().done(), "no fence sees it"
    moving = threading.Thread(target=getattr(weights, move))
    moving.start()
    moving.join(0.05)
    assert moving.is_alive()
    assert weights.residency is Residency.GPU
    go.set()
    moving.join(30)
    assert not moving.is_alive()
    assert weights.device_bytes == 0
    assert weight.eq(3).all(), "the write went where the weights were"
    del weight
    assert device.memory().used == 0
    if move == "offload":
        on_gpu(weights)
        with held(weights) as model:
            assert torch.equal(model.weight, torch.full((4, 4), 3.0))


def test_a_warm_up_is_over_before_anyone_may_use_the_model(make: Make, device: SimDevice) -> None:
    ran: list[bool] = []
    weights = make(load, warm_up=lambda model: device.run_late(lambda: ran.append(True), aside=True))
    on_gpu(weights)
    assert ran == [True]
