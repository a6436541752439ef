"""A CUDA device: one allocation per model, pinned host memory of exact size, a stream for the copies."""

import os

import pynvml
import torch
from dormouse_contract.wire import ReleasedMethod

from ..errors import ConfigurationError, CopyFailed, DeviceFull
from .device import Arena, DeviceMemory

_CHUNK_BYTES = 256 << 20
# cudaHostRegister is called in pieces of at most this size.
_REGISTER_BYTES = 1 << 30


class CudaArena:
    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor: torch.Tensor | None = tensor

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the arena is closed")
        return self._tensor

    def close(self) -> None:
        if self._tensor is not None:
            device, self._tensor = self._tensor.device, None
            # torch keeps freed blocks for itself; other processes get them only after this.
            with torch.cuda.device(device):
                torch.cuda.empty_cache()


class CudaSent:
    """A tensor outside of any arena, in memory of torch's own allocator."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor: torch.Tensor | None = tensor

    @property
    def tensor(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("it was given back")
        return self._tensor

    def close(self) -> None:
        if self._tensor is not None:
            device, self._tensor = self._tensor.device, None
            with torch.cuda.device(device):
                torch.cuda.empty_cache()


class PinnedBuffer:
    """Ordinary memory of exact size, registered with the driver.

    torch's own pinned allocator rounds up to a power of two: 33 GB would pin 64 (pytorch#95823).
    """

    def __init__(self, nbytes: int) -> None:
        self._tensor: torch.Tensor | None = torch.zeros(nbytes, dtype=torch.uint8)
        self._registered: list[int] = []
        cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        for start in range(0, nbytes, _REGISTER_BYTES):
            address = self._tensor.data_ptr() + start
            code = cudart.cudaHostRegister(address, min(_REGISTER_BYTES, nbytes - start), 0)
            if int(code) != 0:
                self.close()
                raise CopyFailed(f"the driver refused to pin host memory ({code}); check `ulimit -l`")
            self._registered.append(address)

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the host buffer is closed")
        return self._tensor

    def close(self) -> None:
        cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        for address in self._registered:
            cudart.cudaHostUnregister(address)
        self._registered.clear()
        self._tensor = None


class CudaFence:
    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(device))

    def done(self) -> bool:
        return bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        self._event.synchronize()


class CudaDevice:
    simulated = False

    def __init__(self, name: str) -> None:
        if not torch.cuda.is_available():
            raise ConfigurationError(
                f"device {name!r}: torch sees no CUDA device. Check nvidia-smi and that torch was installed "
                "with CUDA, or choose 'sim' for a simulated one"
            )
        self.torch_device = torch.device(name)
        index = self.torch_device.index or 0
        if index >= torch.cuda.device_count():
            raise ConfigurationError(
                f"device {name!r}: there are {torch.cuda.device_count()} CUDA devices, counted from cuda:0"
            )
        self.torch_device = torch.device("cuda", index)
        self.name = f"cuda:{index}"
        self.gpu_uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        self._stream = torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]

    def allocate(self, nbytes: int) -> Arena:
        try:
            return CudaArena(torch.empty(nbytes, dtype=torch.uint8, device=self.torch_device))
        except torch.cuda.OutOfMemoryError as error:
            room = torch.cuda.mem_get_info(self.torch_device)[0]
            raise DeviceFull(self.name, nbytes, room) from error

    def host_buffer(self, nbytes: int) -> PinnedBuffer:
        return PinnedBuffer(nbytes)

    def copy_in(self, source: torch.Tensor, arena: Arena, at: int = 0) -> None:
        self._copy(source, arena.bytes[at : at + source.numel()])

    def copy_out(self, arena: Arena, target: torch.Tensor) -> None:
        self._copy(arena.bytes, target)

    def _copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        try:
            # The allocation and any earlier writes were queued on the current stream.
            self._stream.wait_stream(torch.cuda.current_stream(self.torch_device))
            with torch.cuda.stream(self._stream):
                for start in range(0, source.numel(), _CHUNK_BYTES):
                    target[start : start + _CHUNK_BYTES].copy_(source[start : start + _CHUNK_BYTES], non_blocking=True)
            self._stream.synchronize()
        except RuntimeError as error:
            raise CopyFailed(f"{self.name}: {error}") from error

    def send(self, tensor: torch.Tensor, nbytes: int) -> CudaSent:
        try:
            return CudaSent(tensor.detach().to(self.torch_device))
        except torch.cuda.OutOfMemoryError as error:
            room = torch.cuda.mem_get_info(self.torch_device)[0]
            raise DeviceFull(self.name, nbytes, room) from error
        except (RuntimeError, NotImplementedError) as error:
            raise CopyFailed(f"{self.name}: {error}") from error

    def fence(self) -> CudaFence:
        return CudaFence(self.torch_device)

    def memory(self) -> DeviceMemory:
        free, total = torch.cuda.mem_get_info(self.torch_device)
        return DeviceMemory(total, total - free, self._process_bytes())

    def held_bytes(self) -> tuple[int, ReleasedMethod]:
        mine = self._process_bytes()
        if mine is not None:
            return mine, "nvml"
        free, total = torch.cuda.mem_get_info(self.torch_device)
        return total - free, "device-delta"

    def _process_bytes(self) -> int | None:
        """What the driver says that this process holds; None where NVML can't see it (PID namespaces)."""
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(self.gpu_uuid)
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    return int(process.usedGpuMemory)
        except pynvml.NVMLError:
            return None
        return None
