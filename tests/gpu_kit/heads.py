"""What a run was on, for tests that need no device."""

from typing import Any

SIMULATED: dict[str, Any] = {
    "device": "simulated in host RAM",
    "simulated": True,
    "name": "sim",
    "gpu_uuid": "sim",
    "device_memory_bytes": 4 << 30,
    "device_memory_used_bytes": 0,
    "cuda": None,
    "driver": None,
    "pcie_generation": None,
    "pcie_width": None,
    "pcie_generation_max": None,
    "numa_node": None,
    "numa_nodes": None,
    "cpu": "a processor",
    "cores": 2,
    "memory_bytes": 24 << 30,
    "load_average": 0.1,
    "torch": "2.15.0",
    "python": "3.12.1",
    "date": "2026-11-26T12:00:00+00:00",
}
# Made up, and for tests alone: no such GPU was measured.
GPU: dict[str, Any] = SIMULATED | {
    "device": "a GPU of a test",
    "simulated": False,
    "name": "cuda:0",
    "gpu_uuid": "GPU-0",
    "cuda": "13.0",
    "driver": "580.1",
    "pcie_generation": 5,
    "pcie_width": 16,
    "pcie_generation_max": 5,
    "numa_node": 0,
    "numa_nodes": 2,
}
