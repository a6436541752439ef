"""Stable addresses on a real GPU: a captured CUDA graph answers the same after its weights have been away.

    python -m benchmarks.gpu.check_stable_addresses [cuda:0]

What a fake driver can't show: that torch views mapped memory without a copy, that the driver gives memory back,
that a graph finds the weights again. Run it on a GPU that nobody else uses: for a moment it takes all the memory
that is free. It prints each check and ends with status 1 when one failed. No figure it prints is a benchmark.
"""

# ruff: noqa: T201
import sys
import threading
from collections.abc import Callable

import torch
from dormouse_modelserver import CopyFailed, DeviceFull
from dormouse_modelserver.engine.cuda import CudaDevice
from dormouse_modelserver.engine.device import Arena
from dormouse_modelserver.engine.filling import Filling
from dormouse_modelserver.engine.inventory import take_inventory
from dormouse_modelserver.engine.packing import pack
from torch import nn

_CYCLES = 50
# 512 MiB of weights.
_WIDTH = 16384
# What driver and allocator may keep for themselves between two readings; far below the weights.
_SLACK_BYTES = 64 << 20


class SleepingLinear:
    """A linear layer whose weights live in a reservation, moved as the engine moves them: in a fresh thread."""

    def __init__(self, device: CudaDevice) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(_WIDTH, _WIDTH, dtype=torch.float16).requires_grad_(False)
        packing, sources = pack(take_inventory(self.layer, None).tensors)
        self._mirror = device.host_buffer(packing.total_bytes)
        Filling(packing, sources).copy(0, packing.total_bytes, self._mirror.bytes)
        self._packing, self._device = packing, device
        self._reservation = device.reserve(packing.total_bytes)
        self._arena: Arena | None = None
        self.nbytes = packing.total_bytes

    def restore(self) -> None:
        def restore() -> None:
            self._arena = self._reservation.allocate()
            self._device.copy_in(self._mirror.bytes, self._arena)
            self._packing.point_at(self._arena.bytes)

        in_fresh_thread(restore)

    def offload(self) -> None:
        def offload() -> None:
            assert self._arena is not None  # noqa: S101
            self._packing.point_at_nothing()
            self._arena.close()

        in_fresh_thread(offload)

    def close(self) -> None:
        self._reservation.close()
        self._mirror.close()


def in_fresh_thread(work: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def free_bytes(device: CudaDevice) -> int:
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device.torch_device)[0]


class Report:
    failed = 0

    def check(self, what: str, passed: bool, detail: str = "") -> None:
        print(f"{'ok    ' if passed else 'FAILED'} {what}" + (f" ({detail})" if detail else ""))
        self.failed += not passed


def check_graph_replay(device: CudaDevice, report: Report) -> None:
    model = SleepingLinear(device)
    model.restore()
    x = torch.randn(8, _WIDTH, dtype=torch.float16, device=device.torch_device)
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream(device.torch_device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device.torch_device))
    with torch.cuda.stream(side):
        model.layer(x)  # cuBLAS makes its workspace outside of the capture
    side.synchronize()
    with torch.cuda.graph(graph):
        y = model.layer(x)
    graph.replay()
    before, address = y.clone(), model.layer.weight.data_ptr()
    addresses, equal = set(), True
    free_at_first = 0
    for cycle in range(_CYCLES):
        free_awake = free_bytes(device)
        model.offload()
        free_asleep = free_bytes(device)
        if cycle == 0:
            free_at_first = free_asleep
            given_back = free_asleep - free_awake
            report.check(
                "offload gives the memory back",
                given_back >= model.nbytes - _SLACK_BYTES,
                f"{given_back} of {model.nbytes} bytes",
            )
        # What the weights left in the device's memory is most likely overwritten by this.
        torch.full((model.nbytes,), 255, dtype=torch.uint8, device=device.torch_device)
        y.zero_()
        model.restore()
        addresses.add(model.layer.weight.data_ptr())
        graph.replay()
        torch.cuda.synchronize(device.torch_device)
        equal = equal and torch.equal(y, before)
    report.check(f"{_CYCLES} restores have one address", addresses == {address}, f"{sorted(addresses)}")
    report.check(f"{_CYCLES} replays give equal bits", equal)
    model.offload()
    lost = free_at_first - free_bytes(device)
    report.check("cycles leave nothing behind", lost < _SLACK_BYTES, f"{lost} bytes")
    model.close()


def check_roll_back(device: CudaDevice, report: Report) -> None:
    free_before = free_bytes(device)
    # Addresses are there for more than the device has: the last piece finds it full.
    too_large = device.reserve(free_before + (1 << 30))
    try:
        too_large.allocate()
        report.check("more than the device has is refused", False)
    except DeviceFull as full:
        report.check("more than the device has is refused", full.need_bytes > full.room_bytes, str(full))
    lost = free_before - free_bytes(device)
    report.check("a refused mapping leaves nothing behind", lost < _SLACK_BYTES, f"{lost} bytes")
    too_large.close()
    small = device.reserve(1 << 20)
    report.check("the next mapping works", small.allocate().bytes.fill_(7).sum(dtype=torch.int64).item() == 7 << 20)
    small.close()


def check_pinned_buffers(device: CudaDevice, report: Report) -> None:
    """Small ones, which would share pages in ordinary memory, and one of more than one registration."""
    try:
        buffers = [device.host_buffer(nbytes) for nbytes in (*[1000] * 50, 4097, (1 << 30) + 4099)]
    except CopyFailed as refused:
        report.check("host memory is pinned", False, str(refused))
        return
    report.check("host memory is pinned", all(buffer.bytes.is_pinned() for buffer in buffers))
    for buffer in buffers:
        buffer.close()


def main() -> int:
    device = CudaDevice(sys.argv[1] if len(sys.argv) > 1 else "cuda:0")
    print(f"{torch.cuda.get_device_name(device.torch_device)} ({device.gpu_uuid}), torch {torch.__version__}")
    held, method = device.held_bytes()
    print(f"this process holds {held} bytes there by {method}")
    report = Report()
    check_graph_replay(device, report)
    check_roll_back(device, report)
    check_pinned_buffers(device, report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
