"""Use of weights without a slot: the gate opened for a moment, as the slot does for a grant."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dormouse_contract import Residency
from dormouse_modelserver.engines.torch.device import DeviceBackend
from dormouse_modelserver.engines.torch.options import WeightsOptions
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.lifecycle.room.host_budget import HostBudget
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory, read_host_memory


def weights_on(
    device: DeviceBackend,
    load: Callable[[], Any],
    *,
    name: str = "tts",
    host_memory: Callable[[], HostMemory] = read_host_memory,
    engine: TorchProcess | None = None,
    **options: Any,
) -> Weights[Any]:
    engine = engine or TorchProcess(device, HostBudget(host_memory))
    return Weights(name, load, engine, WeightsOptions(**options))


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
