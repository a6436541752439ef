"""A CUDA device: one allocation per model, pinned host memory of exact size, a stream for the copies."""

import functools
from contextlib import suppress

import torch
from dormouse_contract.wire import ReleasedMethod

from ....errors import ConfigurationError, CopyFailed, DeviceFull
from ....lifecycle.device import DeviceMemory, Occupancy, check_works
from ...nvml.occupancy import read_occupancy
from ...nvml.process_memory import ProcessMemory
from ..checks.checksum import CHECKSUM_NEEDS_BYTES, checksum, prepare_checksum
from ..device import Arena
from ..last_view import flat
from ..out_of_memory import lacks_memory
from .driver import CudaDriver, load_driver
from .health import CudaHealth, watched
from .pinned import PinnedBuffer, chunks
from .reservation import CudaReservation, check_views, view_of
from .segments import in_own_segment, segment_bytes

_CHUNK_BYTES = 256 << 20


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
            self._tensor = None
            # torch keeps freed blocks for itself; other processes get them only after this.
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
            self._tensor = None
            torch.cuda.empty_cache()


class CudaFence:
    """An event on the caller's stream. It raises nothing: it is set and asked when a use ends, which must not fail
    half-way. After a kernel has failed every call raises and nothing runs any more: the device is `broken` from then
    on, which the next use and the next move say.
    """

    def __init__(self, device: torch.device, health: CudaHealth) -> None:
        self._health = health
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._recorded = False
        if health.cause is None:
            self._stream = torch.cuda.current_stream(device)
            with health.quietly():
                self._event.record(self._stream)
                self._recorded = True

    def done(self) -> bool:
        """False when it can't be known: while another thread captures a CUDA graph the question is refused, and the
        work may still run. Of an event that was never recorded torch would say that it is done."""
        if self._health.cause is not None:
            return True
        try:
            return self._recorded and bool(self._event.query())  # type: ignore[no-untyped-call]
        except RuntimeError:
            self._health.examine()
            return self._health.cause is not None

    def wait(self) -> None:
        """Whether the work is over for sure, `synchronize` finds out: it comes before each move off the device."""
        if self._health.cause is None:
            with self._health.quietly():
                (self._event if self._recorded else self._stream).synchronize()


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
        self.health = CudaHealth(self.name, self.torch_device)
        self._process = ProcessMemory(
            str(torch.cuda.get_device_properties(index).uuid), lambda: torch.cuda.memory_reserved(index)
        )
        self.gpu_uuid = self._process.gpu_uuid
        self._driver: CudaDriver | None = None
        self._stream = torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]
        prepare_checksum(self.torch_device)
        torch.cuda.empty_cache()

    @property
    def broken(self) -> str | None:
        return self.health.cause

    def forked(self) -> None:
        self.health.forked()

    def examine(self) -> None:
        self.health.examine()

    @watched
    def allocate(self, nbytes: int) -> Arena:
        # Sharing a segment with what the app allocates, the arena could not be given back while that lives.
        torch.cuda.empty_cache()
        whole_segment = segment_bytes(nbytes)
        try:
            tensor = in_own_segment(
                lambda: torch.empty(whole_segment, dtype=torch.uint8, device=self.torch_device),
                whole_segment,
                lambda: torch.cuda.memory_reserved(self.torch_device),
                lambda: torch.cuda.memory_allocated(self.torch_device),
            )
        except torch.cuda.OutOfMemoryError as error:
            # Only what the driver has is room: torch holds splinters beside living tensors, too small for an arena.
            room = torch.cuda.mem_get_info(self.torch_device)[0]
            raise DeviceFull(self.name, whole_segment, room) from error
        return CudaArena(flat(tensor.untyped_storage(), nbytes))

    @watched
    def reserve(self, nbytes: int) -> CudaReservation:
        check_views()
        if self._driver is None:
            self._driver = CudaDriver(load_driver(), self.name, self.torch_device.index)
        return CudaReservation(self._driver, nbytes, functools.partial(view_of, device=self.torch_device))

    @watched
    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> PinnedBuffer:
        return PinnedBuffer(nbytes, self.torch_device, pinned=pinned)

    def copy_in(self, source: torch.Tensor, arena: Arena, at: int = 0) -> None:
        self._copy(source, arena.bytes[at : at + source.numel()])

    def copy_out(self, arena: Arena, target: torch.Tensor) -> None:
        self._copy(arena.bytes, target)

    @watched
    def _copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        offset = int((source if source.device.type == "cpu" else target).storage_offset())  # in the host buffer
        try:
            # In a fresh thread the current device is the first: without this, a call would make a context there.
            with torch.cuda.device(self.torch_device):
                # The allocation and any earlier writes were queued on the current stream.
                self._stream.wait_stream(torch.cuda.current_stream(self.torch_device))
                with torch.cuda.stream(self._stream):
                    for start, end in chunks(source.numel(), offset, _CHUNK_BYTES):
                        target[start:end].copy_(source[start:end], non_blocking=True)
                self._stream.synchronize()
        except RuntimeError as error:
            # Chunks already queued must not write on into memory that the caller gives back.
            with suppress(RuntimeError):
                self._stream.synchronize()
            raise CopyFailed(f"{self.name}: {error}") from error

    @watched
    def checksum(self, data: torch.Tensor) -> int:
        try:
            return checksum(data)
        except RuntimeError as error:
            if not lacks_memory(error):
                raise
            room = torch.cuda.mem_get_info(self.torch_device)[0]
            raise DeviceFull(self.name, CHECKSUM_NEEDS_BYTES, room) from error

    @watched
    def send(self, tensor: torch.Tensor, nbytes: int) -> CudaSent:
        try:
            return CudaSent(tensor.detach().to(self.torch_device))
        except torch.cuda.OutOfMemoryError as error:
            room = torch.cuda.mem_get_info(self.torch_device)[0]
            raise DeviceFull(self.name, nbytes, room) from error
        except (RuntimeError, NotImplementedError) as error:
            raise CopyFailed(f"{self.name}: {error}") from error

    def fence(self) -> CudaFence:
        return CudaFence(self.torch_device, self.health)

    @watched
    def synchronize(self) -> None:
        try:
            torch.cuda.synchronize(self.torch_device)
        except RuntimeError as error:
            raise CopyFailed(
                f"{self.name}: work queued on the device failed or can't be waited for now ({error}); no weights "
                "were moved. Ask again; if it goes on, restart the process"
            ) from error

    def trim(self) -> None:
        if self.broken is None:
            with self.health.quietly():
                torch.cuda.empty_cache()

    @watched
    def memory(self) -> DeviceMemory:
        free, total = torch.cuda.mem_get_info(self.torch_device)
        return DeviceMemory(total, total - free, self._process.read())

    def occupancy(self) -> Occupancy:
        check_works(self)
        counted = read_occupancy(self.gpu_uuid)
        if counted is not None:
            return counted
        memory = self.memory()
        return Occupancy(memory.total, memory.used, memory.used_by_this_process, None)

    @watched
    def held_bytes(self) -> tuple[int, ReleasedMethod]:
        mine = self._process.read()
        if mine is not None:
            return mine, "nvml"
        free, total = torch.cuda.mem_get_info(self.torch_device)
        return total - free, "device-delta"
