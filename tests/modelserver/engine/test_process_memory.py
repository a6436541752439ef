"""NVML's figure for this process is taken only where it can be ours."""

import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from dormouse_contract.wire import ReleasedMethod
from dormouse_modelserver.engines.nvml.process_memory import ProcessMemory
from dormouse_modelserver.engines.torch.cuda import device as cuda
from dormouse_modelserver.engines.torch.cuda import pinned as cuda_pinned
from dormouse_modelserver.engines.torch.moves.measure import Measure
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.lifecycle.engine import Released

_RESERVED_BYTES = 1000


class FakeNvmlError(Exception): ...


@dataclass
class FakeNvml:
    """What the driver answers; on a real one it depends on its version, PID namespaces and MIG."""

    processes: list[tuple[int, int | None]]
    names: tuple[str, ...] = ("GPU-1234",)
    broken: bool = False
    calls: list[str] = field(default_factory=list)
    NVMLError = FakeNvmlError

    def _called(self, function: str) -> None:
        self.calls.append(function)
        if self.broken:
            raise FakeNvmlError(function)

    def nvmlInit(self) -> None:
        self._called("nvmlInit")

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        self._called("nvmlDeviceGetHandleByUUID")
        if name not in self.names:
            raise FakeNvmlError("not found")
        return name

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        self._called("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]


def opened(nvml: FakeNvml, reserved_bytes: int = _RESERVED_BYTES) -> ProcessMemory:
    return ProcessMemory("1234", lambda: reserved_bytes, nvml)


def test_the_figure_of_this_process_is_found_and_nvml_is_started_once() -> None:
    nvml = FakeNvml([(1, 7), (os.getpid(), 5000)])
    memory = opened(nvml)
    assert [memory.read() for _ in range(3)] == [5000, 5000, 5000]
    assert nvml.calls.count("nvmlInit") == nvml.calls.count("nvmlDeviceGetHandleByUUID") == 1


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param([], id="nobody is listed"),
        pytest.param([(os.getpid() + 1, 5000)], id="PIDs of another namespace"),
        pytest.param([(os.getpid(), 0)], id="a PID without memory"),
        pytest.param([(os.getpid(), None)], id="memory not available"),
        pytest.param([(os.getpid(), _RESERVED_BYTES - 1)], id="our PID is somebody else's elsewhere"),
    ],
)
def test_a_figure_that_can_not_be_ours_is_never_taken(
    processes: list[tuple[int, int | None]],
) -> None:
    nvml = FakeNvml(processes)
    memory = opened(nvml)
    assert memory.read() is None
    nvml.processes = [(os.getpid(), 5000)]
    assert memory.read() is None, "two readings that are subtracted are counted the same way"


@pytest.mark.parametrize(("before", "after"), [(3000, 6000), (6000, 3000)], ids=["taken", "given back"])
def test_memory_that_another_thread_moves_meanwhile_does_not_make_the_figure_wrong(before: int, after: int) -> None:
    nvml = FakeNvml([(os.getpid(), 5000)])

    def reserved() -> int:
        return after if "nvmlDeviceGetComputeRunningProcesses" in nvml.calls else before

    assert ProcessMemory("1234", reserved, nvml).read() == 5000


def test_a_release_that_was_counted_in_two_ways_claims_nothing() -> None:
    device = SimDevice("sim", 1 << 20)
    readings: list[tuple[int, ReleasedMethod]] = [
        (9000, "nvml"),
        (2000, "device-delta"),
        (9000, "nvml"),
        (2000, "nvml"),
    ]
    device.held_bytes = lambda: readings.pop(0)  # type: ignore[method-assign]
    assert Measure(device).released(8000) == Released()
    assert Measure(device).released(8000) == Released(7000, 1000, "nvml")


def test_a_process_is_never_without_memory_even_when_all_its_models_sleep() -> None:
    assert opened(FakeNvml([(os.getpid(), 0)]), reserved_bytes=0).read() is None
    assert opened(FakeNvml([(os.getpid(), 300)]), reserved_bytes=0).read() == 300


def test_a_slice_of_a_gpu_is_known_by_its_own_name() -> None:
    memory = opened(FakeNvml([(os.getpid(), 5000)], names=("MIG-1234",)))
    assert (memory.gpu_uuid, memory.read()) == ("MIG-1234", 5000)


def test_without_nvml_there_is_a_name_and_no_figure() -> None:
    memory = opened(FakeNvml([], broken=True))
    assert (memory.gpu_uuid, memory.read()) == ("GPU-1234", None)


def test_no_copy_reads_from_two_registrations_of_host_memory() -> None:
    assert cuda_pinned.REGISTER_BYTES % cuda._CHUNK_BYTES == 0
