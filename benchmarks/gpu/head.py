"""What a run was measured on: `python -m benchmarks.gpu.head DEVICE` prints it as JSON and ends.

In a separate process: asking torch about a GPU makes a context there, which takes some hundred MB of it.
"""

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pynvml
import torch
from dormouse_modelserver import DormouseError
from dormouse_modelserver.engines.torch.open_device import open_device

from benchmarks.engine.machine import this_machine


def head_of(device: str) -> dict[str, Any]:
    """Raises `ConfigurationError` for a device that is not there. What the driver does not say is None."""
    opened = open_device(device)
    machine = asdict(this_machine(opened.name))
    return {
        "device": machine.pop("device_name"),
        "simulated": opened.simulated,
        "name": opened.name,
        "gpu_uuid": opened.gpu_uuid,
        "device_memory_bytes": opened.memory().total,
        "device_memory_used_bytes": opened.memory().used,
        "cuda": None if opened.simulated else torch.version.cuda,
        **(_unknown() if opened.simulated else _from_driver(opened.gpu_uuid)),
        **machine,
    }


def _unknown() -> dict[str, Any]:
    return dict.fromkeys(("driver", "pcie_generation", "pcie_width", "pcie_generation_max", "numa_node", "numa_nodes"))


def _from_driver(gpu_uuid: str) -> dict[str, Any]:
    found = _unknown()
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        found["driver"] = pynvml.nvmlSystemGetDriverVersion()
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)
        # The link of now: an idle GPU may run it slower, so its greatest generation stands beside it.
        for key, ask in (
            ("pcie_generation", pynvml.nvmlDeviceGetCurrPcieLinkGeneration),
            ("pcie_width", pynvml.nvmlDeviceGetCurrPcieLinkWidth),
            ("pcie_generation_max", pynvml.nvmlDeviceGetMaxPcieLinkGeneration),
        ):
            with suppress(pynvml.NVMLError):
                found[key] = ask(handle)
        found["numa_node"] = _numa_node(pynvml.nvmlDeviceGetPciInfo(handle).busId)
    found["numa_nodes"] = len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None
    return found


def _numa_node(bus_id: str | bytes) -> int | None:
    """NVML writes the domain with eight digits, sysfs with four."""
    name = bus_id.decode() if isinstance(bus_id, bytes) else bus_id
    try:
        node = int(Path(f"/sys/bus/pci/devices/{name.lower()[-12:]}/numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def main(arguments: list[str]) -> int:
    try:
        json.dump(head_of(arguments[0]), sys.stdout)
    except DormouseError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
