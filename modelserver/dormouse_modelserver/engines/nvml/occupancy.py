"""Who holds how much of a GPU, as the NVIDIA driver counts it.

Unlike `torch.cuda.mem_get_info` NVML needs no CUDA context, so looking costs no device memory.
"""

import os
from pathlib import Path

from ...lifecycle.device import Holder, Occupancy, largest_first, program_of


def read_occupancy(gpu_uuid: str) -> Occupancy | None:
    """As measured now; None when the driver can't tell."""
    import pynvml  # only where there is a driver

    try:
        return _read(gpu_uuid)
    except pynvml.NVMLError:
        return None


def _read(gpu_uuid: str) -> Occupancy:
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)
    # Version 2 counts as nvidia-smi does: what the driver reserves for itself is not somebody's use.
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    holders: dict[int, Holder] = {}
    for process in (
        *pynvml.nvmlDeviceGetComputeRunningProcesses(handle),
        *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
    ):
        nbytes = None if process.usedGpuMemory is None else int(process.usedGpuMemory)
        holders[process.pid] = Holder(process.pid, _name_of(process.pid), nbytes, process.pid == os.getpid())
    mine = holders.get(os.getpid())
    return Occupancy(
        int(memory.total), int(memory.used), mine.nbytes if mine is not None else None, largest_first(holders.values())
    )


def _name_of(pid: int) -> str | None:
    """The driver's word: our own /proc may number processes otherwise (containers)."""
    import pynvml

    if pid == os.getpid():
        return program_of(pid)
    try:
        name = pynvml.nvmlSystemGetProcessName(pid)
    except pynvml.NVMLError:
        return None
    return Path(name if isinstance(name, str) else name.decode(errors="replace")).name or None
