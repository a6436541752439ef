"""What the driver says that this process holds on a device, where it can be believed.

In a container NVML may list PIDs of the host, none at all, or ours with no memory beside it, depending on the
driver. A figure is taken only if it can be ours; once it was not, NVML is not asked again, so that two
readings that are subtracted were counted the same way.
"""

import os
from collections.abc import Callable
from typing import Any

import pynvml


class ProcessMemory:
    """uuid: as torch gives it, without a prefix. reserved_bytes: what this process holds there at least.

    gpu_uuid: the name that NVML and the exporters know the device by.
    """

    def __init__(self, uuid: str, reserved_bytes: Callable[[], int], nvml: Any = pynvml) -> None:
        self.gpu_uuid = f"GPU-{uuid}"
        self._reserved_bytes, self._nvml = reserved_bytes, nvml
        self._handle: Any = None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return
        # A slice of a GPU (MIG) has a UUID of its own, under another prefix.
        for name in (f"GPU-{uuid}", f"MIG-{uuid}"):
            try:
                self._handle = nvml.nvmlDeviceGetHandleByUUID(name)
            except nvml.NVMLError:
                continue
            self.gpu_uuid = name
            return

    def read(self) -> int | None:
        """Bytes, the CUDA context's own included; None where NVML can't tell."""
        before = self._reserved_bytes()
        held = self._reported()
        # A context alone takes memory, so 0 is no answer; less than torch holds is another process's figure. Other
        # threads take memory and give it back while the driver is asked: torch held at least the smaller of the two.
        if held is None or held == 0 or held < min(before, self._reserved_bytes()):
            self._handle = None
            return None
        return held

    def _reported(self) -> int | None:
        if self._handle is None:
            return None
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return None
        return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)
