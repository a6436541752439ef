"""What one would do without Dormouse: `.to(device)` and back, load the file again, start the process again."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from dormouse_modelserver.engines.torch.device import DeviceBackend
from dormouse_modelserver.engines.torch.host_pages import give_freed_memory_back
from safetensors.torch import load_file
from torch import nn

from .cases import Case
from .samples import Samples
from .stack import ask, build


class Alternatives:
    """A twin of the subject that the engine never sees."""

    def __init__(self, case: Case, file: Path, device: DeviceBackend, samples: Samples) -> None:
        self._case, self._file, self._device, self._samples = case, file, device, samples
        self._twin: nn.Sequential | None = None

    def load_file(self) -> None:
        """The usual way from disk to host RAM, which has been given back before, as an unload does: from memory that
        the allocator had kept, a model could be loaded without a page fault, and that memory nobody else could use."""
        self._twin = None
        give_freed_memory_back()
        with self._samples.timing("safetensors"):
            twin = build(self._case)
            twin.load_state_dict(load_file(self._file))
        self._twin = twin

    def load_file_to_device(self) -> None:
        """Straight from disk to the device, as safetensors offers it; on `sim` there is no such way."""
        if self._device.simulated:
            return
        with self._samples.timing("safetensors_to_device"):
            there = load_file(self._file, device=str(self._device.torch_device))
            self._device.synchronize()
        del there
        torch.cuda.empty_cache()

    def there_and_back(self) -> torch.Tensor:
        """To the device, some answers there, and back; returns the last answer."""
        twin, device = self._loaded(), self._device
        with self._samples.timing("to_device"):
            twin._apply(_send(device))  # type: ignore[no-untyped-call]
            device.synchronize()
        ask(twin, device.torch_device)
        ask(twin, device.torch_device)  # from here on it is as if it had never been anywhere else
        for name in ("never_moved_first_inference", "never_moved_second_inference"):
            with self._samples.timing(name):
                answer = ask(twin, device.torch_device)
        with self._samples.timing("to_cpu"):
            twin._apply(_fetch(device))  # type: ignore[no-untyped-call]
            if not device.simulated:
                torch.cuda.empty_cache()  # an offload gives the memory back, so this must too
        return answer

    def restart(self) -> None:
        """A fresh process that loads the file and answers once."""
        command = [sys.executable, "-m", "benchmarks.engine.restart", self._case.name, str(self._file)]
        self._twin = None
        with self._samples.timing("process_restart"):
            subprocess.run([*command, str(self._device.torch_device)], check=True, stdout=subprocess.DEVNULL)

    def _loaded(self) -> nn.Sequential:
        if self._twin is None:
            raise RuntimeError("load_file() comes first")
        return self._twin


def _send(device: DeviceBackend) -> Callable[[torch.Tensor], torch.Tensor]:
    """What `module.to(device)` does to each tensor; `sim` is in host RAM, where `.to` would do nothing."""
    return torch.clone if device.simulated else lambda tensor: tensor.to(device.torch_device)


def _fetch(device: DeviceBackend) -> Callable[[torch.Tensor], torch.Tensor]:
    return torch.clone if device.simulated else lambda tensor: tensor.to("cpu")
