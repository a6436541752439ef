"""What the figures were measured on; without it they mean nothing."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class Machine:
    """device_name: what the device calls itself. load_average: of the last minute, as it began."""

    device_name: str
    cpu: str
    cores: int
    memory_bytes: int
    load_average: float
    torch: str
    python: str
    date: str


def this_machine(device: str) -> Machine:
    return Machine(
        device_name=torch.cuda.get_device_name(device) if device.startswith("cuda") else "simulated in host RAM",
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_bytes=int(_field("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        load_average=os.getloadavg()[0],
        torch=torch.__version__,
        python=platform.python_version(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
