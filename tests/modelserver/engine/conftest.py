"""A simulated device and the weights of one model on it."""

from collections.abc import Callable
from typing import Any

import pytest
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights

from .using import weights_on


@pytest.fixture
def device() -> SimDevice:
    return SimDevice("sim", 64 << 20)


@pytest.fixture
def make(device: SimDevice) -> Callable[..., Weights[Any]]:
    def make(load: Callable[[], Any], **settings: Any) -> Weights[Any]:
        return weights_on(device, load, **settings)

    return make
