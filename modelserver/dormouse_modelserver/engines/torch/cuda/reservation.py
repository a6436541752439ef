"""Stable addresses on CUDA: a range is reserved once, and memory is mapped behind it from restore to offload.

A captured CUDA graph and compiled code hold the addresses of the weights. An ordinary allocation comes back
elsewhere, so they would have to be captured again at each wake. The driver's virtual memory management keeps
the address and the memory apart: `cuMemAddressReserve` once, `cuMemCreate` and `cuMemMap` at each restore,
`cuMemUnmap` and `cuMemRelease` at each offload.

Memory is created in pieces, each in the list before anything else can fail, so giving back is one walk over
the list: after a success, after a failure at any call, and once more when giving back itself had failed.
"""

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ....errors import ConfigurationError, DeviceFull
from ..mapped_arena import MappedArena, reopened
from .driver import CudaDriver, DriverRefused

# A multiple of every granularity there is (2 MiB so far); smaller only means more calls.
_PIECE_BYTES = 1 << 30


class CudaReservation:
    """view: makes the flat uint8 tensor over an address and a size, without a copy.

    Torch's cached blocks are handed back before memory is created: the driver can't map what torch keeps.
    """

    def __init__(
        self,
        driver: CudaDriver,
        nbytes: int,
        view: Callable[[int, int], torch.Tensor],
        *,
        piece_bytes: int = _PIECE_BYTES,
    ) -> None:
        self._driver, self._nbytes, self._view, self._piece_bytes = driver, nbytes, view, piece_bytes
        api = driver.api
        self._memory = api.CUmemAllocationProp()
        self._memory.type = api.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        self._memory.location.type = api.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        self._memory.location.id = driver.ordinal
        self._access = api.CUmemAccessDesc()
        self._access.location = self._memory.location
        self._access.flags = api.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        minimum = api.CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_MINIMUM
        self._pieces: list[_Piece] = []
        self._arena: MappedArena | None = None
        self._closing = False
        # The last view of an arena may go at any time, in any thread.
        self._mapping = threading.Lock()
        with driver.current():
            granularity = driver.call("cuMemGetAllocationGranularity", self._memory, minimum)
            # A model without weights gets one granule: an empty range can't be reserved.
            self._range_bytes = max(1, -(-nbytes // granularity)) * granularity
            self._address: int | None = int(driver.call("cuMemAddressReserve", self._range_bytes, 0, 0, 0))

    def allocate(self) -> MappedArena:
        with self._mapping:
            if self._address is None or self._closing:
                raise RuntimeError("the reservation is closed")
            arena = reopened(self._arena)
            if arena is not None:
                return arena
            storage = self._new_memory(self._address).untyped_storage()
            self._arena = MappedArena(storage, self._nbytes, self._unmap)
            return self._arena

    def _new_memory(self, base: int) -> torch.Tensor:
        torch.cuda.empty_cache()
        with self._driver.current():
            self._give_back()  # what could not be given back before
            try:
                return self._mapped(base)
            except BaseException as error:
                self._roll_back(error)
                if isinstance(error, DriverRefused) and error.out_of_memory:
                    free_bytes = self._driver.call("cuMemGetInfo")
                    raise DeviceFull(self._driver.device, self._range_bytes, free_bytes) from error
                raise

    def close(self) -> None:
        self._closing = True
        if self._arena is not None:
            self._arena.close()
        with self._mapping:
            if self._arena is None:
                self._free()

    def _free(self) -> None:
        if self._address is not None:
            with self._driver.current():
                self._give_back()
                self._driver.call("cuMemAddressFree", self._address, self._range_bytes)
            self._address = None

    def _mapped(self, base: int) -> torch.Tensor:
        for start in range(0, self._range_bytes, self._piece_bytes):
            nbytes = min(self._piece_bytes, self._range_bytes - start)
            piece = _Piece(base + start, nbytes, self._driver.call("cuMemCreate", nbytes, self._memory, 0))
            self._pieces.append(piece)
            self._driver.call("cuMemMap", piece.address, nbytes, 0, piece.handle, 0)
            piece.mapped = True
        self._driver.call("cuMemSetAccess", base, self._range_bytes, [self._access], 1)
        whole = self._view(base, self._range_bytes)
        if whole.data_ptr() != base:
            raise RuntimeError("torch made a copy of the mapped memory where a view was asked for")
        return whole

    def _unmap(self, arena: MappedArena) -> None:
        with self._mapping:
            if arena is not self._arena:
                return
            self._arena = None
            if self._closing:
                self._free()
                return
            with self._driver.current():
                self._give_back()

    def _roll_back(self, error: BaseException) -> None:
        try:
            self._give_back()
        except DriverRefused as refused:
            error.add_note(f"What was mapped could not be given back yet, the next try begins with that: {refused}")

    def _give_back(self) -> None:
        """Walk over all pieces, then raise the first refusal; what was refused stays listed for the next walk."""
        if not self._pieces:
            return
        # Unmapping waits for nobody: a kernel still queued would find no memory behind its addresses.
        self._driver.call("cuCtxSynchronize")
        first_refusal: DriverRefused | None = None
        for piece in tuple(self._pieces):
            try:
                if piece.mapped:
                    self._driver.call("cuMemUnmap", piece.address, piece.nbytes)
                    piece.mapped = False
                self._driver.call("cuMemRelease", piece.handle)
                self._pieces.remove(piece)
            except DriverRefused as refused:
                first_refusal = first_refusal or refused
        if first_refusal is not None:
            raise first_refusal


def check_views() -> None:
    """Raises `ConfigurationError` where torch could make none: it reads `__cuda_array_interface__` through NumPy."""
    try:
        importlib.import_module("numpy")
    except ImportError as missing:
        raise ConfigurationError(
            "stable addresses need NumPy, by which torch takes up memory that it did not allocate, and it is not "
            "installed: `pip install numpy`, or register the model without stable_addresses"
        ) from missing


def view_of(address: int, nbytes: int, device: torch.device) -> torch.Tensor:
    """A flat uint8 tensor over device memory that torch did not allocate. It owns nothing."""
    return torch.as_tensor(_DeviceBytes(address, nbytes), device=device)


class _DeviceBytes:
    def __init__(self, address: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


@dataclass(slots=True, eq=False)
class _Piece:
    """Memory that was created, and whether it is behind its address."""

    address: int
    nbytes: int
    handle: Any
    mapped: bool = False
