"""One model in the hands of the engine, with a clock on each part of its transitions.

The engine is driven as a model's slot drives it, without the slot: what is measured is moving weights, not queueing.
"""

from collections.abc import Callable
from dataclasses import asdict

import torch
from dormouse_modelserver.engines.torch.device import DeviceBackend
from dormouse_modelserver.engines.torch.options import WeightsOptions
from dormouse_modelserver.engines.torch.pace import Pace, Path
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from .cases import Case
from .samples import Samples
from .stack import ask

# What the device holds, as it says itself: by mem_get_info, and for this process by NVML (on `sim`, the account).
Memory = dict[str, int | None]
Load = Callable[[], nn.Sequential]


class _LastPace(Pace):
    """The engine's own clock, kept move by move: its rates are averages, and here each move counts."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds_by_path: dict[Path, float] = {}

    def measured(self, path: Path, nbytes: int, seconds: float) -> None:
        super().measured(path, nbytes, seconds)
        self.seconds_by_path[path] = self.seconds_by_path.get(path, 0.0) + seconds


class Subject:
    """load: makes the case's model. memory: by transition, what the device held before and after the last one."""

    def __init__(self, case: Case, load: Load, device: DeviceBackend, samples: Samples) -> None:
        self.memory: dict[str, dict[str, Memory]] = {}
        self.most_bytes_copied = 0
        self._device, self._samples, self._pace = device, samples, _LastPace()
        options: WeightsOptions[nn.Sequential] = WeightsOptions(frozen=case.frozen)
        self._weights = Weights("subject", load, TorchProcess(device, pace=self._pace), options)

    @property
    def host_bytes(self) -> int:
        return self._weights.host_bytes

    def reload(self) -> None:
        """What `load` reads → host RAM."""
        with self._samples.timing("reload"):
            self._weights.load()

    def restore(self) -> None:
        """Host RAM → device, in its parts: the copy, the check, and the whole wake."""
        self._pace.seconds_by_path.clear()
        self._move("restore", "wake", self._weights.restore)
        self._samples.add("restore", self._pace.seconds_by_path[Path.RESTORE])
        self._samples.add("verify", self._pace.seconds_by_path.get(Path.VERIFY, 0.0))

    def offload(self) -> None:
        """Device → host RAM, with the check."""
        self._move("offload", "offload", self._weights.offload)
        self.most_bytes_copied = max(self.most_bytes_copied, self._weights.speed.offload_bytes_copied)

    def unload(self) -> None:
        """Host RAM → nowhere."""
        with self._samples.timing("unload"):
            self._weights.unload()

    def answer(self, name: str) -> torch.Tensor:
        gate = self._weights.gate
        gate.open = True
        try:
            with self._samples.timing(name):
                return ask(self._weights.model, self._device.torch_device)
        finally:
            gate.open = False

    def _move(self, transition: str, name: str, move: Callable[[], object]) -> None:
        before: Memory = asdict(self._device.memory())
        with self._samples.timing(name):
            move()
            self._device.synchronize()
        self.memory[transition] = {"before": before, "after": asdict(self._device.memory())}
