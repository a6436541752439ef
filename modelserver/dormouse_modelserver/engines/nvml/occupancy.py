"""Who holds how much of a device: asked of whoever keeps its books, so that a page never adds figures up.

On CUDA that is the driver, through NVML: unlike `torch.cuda.mem_get_info` it needs no CUDA context, so looking
costs no device memory. On `sim` it is the account. Where neither can tell, the answer is None, not 0.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..torch.device import DeviceBackend, check_works
from ..torch.sim.device import SimDevice


@dataclass(frozen=True, slots=True)
class Holder:
    """A process on the device. name and nbytes are None where the driver doesn't tell."""

    pid: int
    name: str | None
    nbytes: int | None
    this_process: bool


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Bytes of the whole device. used_by_this_process and holders are None where the driver can't tell."""

    total: int
    used: int
    used_by_this_process: int | None
    holders: tuple[Holder, ...] | None


def read_occupancy(device: DeviceBackend) -> Occupancy:
    """As measured now. Blocks for a few milliseconds: not for an event loop. Raises `DeviceBroken`."""
    check_works(device)
    if isinstance(device, SimDevice):
        return _from_account(device)
    try:
        return _from_driver(device.gpu_uuid)
    except _cannot_tell():
        memory = device.memory()
        return Occupancy(memory.total, memory.used, memory.used_by_this_process, None)


def _from_account(device: SimDevice) -> Occupancy:
    memory, held = device.memory(), device.holders()
    holders = [Holder(pid, program_of(pid), nbytes, pid == os.getpid()) for pid, nbytes in held.items()]
    return Occupancy(memory.total, memory.used, memory.used_by_this_process, _largest_first(holders))


def _from_driver(gpu_uuid: str) -> Occupancy:
    import pynvml  # only where there is a driver; `sim` runs without one

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
        holders[process.pid] = Holder(process.pid, _driver_name(process.pid), nbytes, process.pid == os.getpid())
    mine = holders.get(os.getpid())
    return Occupancy(
        int(memory.total), int(memory.used), mine.nbytes if mine is not None else None, _largest_first(holders.values())
    )


def _driver_name(pid: int) -> str | None:
    """The driver's word: our own /proc may number processes otherwise (containers)."""
    import pynvml

    if pid == os.getpid():
        return program_of(pid)
    try:
        name = pynvml.nvmlSystemGetProcessName(pid)
    except pynvml.NVMLError:
        return None
    return Path(name if isinstance(name, str) else name.decode(errors="replace")).name or None


def _cannot_tell() -> tuple[type[Exception], ...]:
    import pynvml

    return (pynvml.NVMLError,)


def _largest_first(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    return tuple(sorted(holders, key=lambda holder: (-(holder.nbytes or 0), holder.pid)))


def program_of(pid: int) -> str | None:
    """The program's or script's name, never its arguments: those may hold secrets. None when it can't be read."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    program = Path(arguments[0]).name
    if program.startswith("python") and len(arguments) > 1 and arguments[1]:
        if not arguments[1].startswith("-"):
            return Path(arguments[1]).name
        if arguments[1] == "-m" and len(arguments) > 2:
            return arguments[2]
    return program or None
