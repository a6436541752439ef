"""A CUDA driver that keeps an exact account and fails where a test wants it to.

Structs, enums and signatures are the installed `cuda.bindings`', so a call that they would not take fails
here too. Its "device memory" is host memory, so that the mapped bytes can be written and read.
"""

import inspect
import mmap
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from cuda.bindings import driver as real

OK = real.CUresult.CUDA_SUCCESS
OUT_OF_MEMORY = real.CUresult.CUDA_ERROR_OUT_OF_MEMORY
GRANULARITY_BYTES = 64 << 10


@dataclass
class FakeCudaDriver:
    """fail: the call (function, k), counted from 1 per function, returns the error; taken away when it did."""

    capacity_bytes: int
    fail: dict[tuple[str, int], Any] = field(default_factory=dict)
    can_map: bool = True
    kernels_queued: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    ranges: dict[int, mmap.mmap] = field(default_factory=dict)
    handles: dict[int, int] = field(default_factory=dict)
    mapped: dict[int, tuple[int, int]] = field(default_factory=dict)
    accessible: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._threads = threading.local()
        self._next_handle = 1

    @property
    def used_bytes(self) -> int:
        """Memory lives while a handle or a mapping holds it."""
        living = {**self.handles, **{handle: nbytes for nbytes, handle in self.mapped.values()}}
        return sum(living.values())

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            return getattr(real, name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            inspect.signature(getattr(real, name)).bind(*arguments)
            self.calls[name] += 1
            self.log.append(name)
            error = self.fail.pop((name, self.calls[name]), None)
            if error is not None:
                return (error, *([None] if name in ("cuMemCreate", "cuMemAddressReserve") else []))
            needs_context = name.startswith("cuMem") or name == "cuCtxSynchronize"
            assert not needs_context or self.contexts, f"{name} without a context in this thread"
            value = getattr(self, f"_{name}")(*arguments)
            if isinstance(value, real.CUresult):
                return (value,)
            return (OK,) if value is None else (OK, *value) if isinstance(value, tuple) else (OK, value)

        return call

    @property
    def contexts(self) -> list[str]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        return self._threads.stack  # type: ignore[no-any-return]

    def _cuInit(self, flags: int) -> None: ...

    def _cuDeviceGet(self, ordinal: int) -> int:
        return ordinal

    def _cuDeviceGetAttribute(self, attribute: Any, device: int) -> int:
        return int(self.can_map)

    def _cuDevicePrimaryCtxRetain(self, device: int) -> str:
        return "primary"

    def _cuCtxPushCurrent(self, context: str) -> None:
        self.contexts.append(context)

    def _cuCtxPopCurrent(self) -> str:
        return self.contexts.pop()

    def _cuCtxSynchronize(self) -> None:
        self.kernels_queued = False

    def _cuMemGetInfo(self) -> tuple[int, int]:
        return self.capacity_bytes - self.used_bytes, self.capacity_bytes

    def _cuMemGetAllocationGranularity(self, memory: Any, option: Any) -> int:
        return GRANULARITY_BYTES

    def _cuMemAddressReserve(self, nbytes: int, alignment: int, hint: int, flags: int) -> Any:
        assert nbytes > 0
        assert nbytes % GRANULARITY_BYTES == 0
        region = mmap.mmap(-1, nbytes)
        address = int(torch.frombuffer(region, dtype=torch.uint8).data_ptr())
        self.ranges[address] = region
        return real.CUdeviceptr(address)

    def _cuMemAddressFree(self, address: int, nbytes: int) -> None:
        assert len(self.ranges[address]) == nbytes
        assert not self.mapped, "the range is still mapped"
        del self.ranges[address]

    def _cuMemCreate(self, nbytes: int, memory: Any, flags: int) -> Any:
        assert nbytes > 0
        assert nbytes % GRANULARITY_BYTES == 0
        assert memory.location.type == real.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        assert memory.type == real.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        if self.used_bytes + nbytes > self.capacity_bytes:
            return OUT_OF_MEMORY
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self.handles[handle] = nbytes
        return handle

    def _cuMemMap(self, address: int, nbytes: int, offset: int, handle: int, flags: int) -> None:
        assert self.handles[handle] == nbytes
        assert offset == 0
        assert any(base <= address and address + nbytes <= base + len(r) for base, r in self.ranges.items())
        assert all(address + nbytes <= other or other + size <= address for other, (size, _) in self.mapped.items())
        self.mapped[address] = (nbytes, handle)

    def _cuMemSetAccess(self, address: int, nbytes: int, access: list[Any], count: int) -> None:
        assert [a.flags for a in access] == [real.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE]
        assert sum(size for start, (size, _) in self.mapped.items() if address <= start) == nbytes, "a gap"
        self.accessible.update(self.mapped)

    def _cuMemUnmap(self, address: int, nbytes: int) -> None:
        assert not self.kernels_queued, "memory was taken away under a queued kernel"
        assert self.mapped.pop(address)[0] == nbytes
        self.accessible.discard(address)

    def _cuMemRelease(self, handle: int) -> None:
        del self.handles[handle]
