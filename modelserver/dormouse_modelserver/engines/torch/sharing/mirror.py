"""The copy of a bundle in host RAM: what makes leaving the device free and coming back fast."""

import time

import torch

from ....errors import CopyFailed, IntegrityError
from ....lifecycle.room.host_budget import HostBudget
from ..checks.checksum import checksum, combined
from ..device import Arena, DeviceBackend, HostBuffer
from ..layout.filling import Filling
from ..layout.packing import Packing
from ..pace import Pace, Path


class Mirror:
    """Room for a copy is asked of `host` first. Not thread-safe: the bundle calls it under its lock.

    sum: the checksum of the bytes as last known: those of the copy, or of the arena while there is no copy. None: the
        copy is torn, or nothing is known yet.
    bytes_copied_back: by the latest demotion, which sets it to 0 when it begins.
    """

    def __init__(self, model_name: str, device: DeviceBackend, host: HostBudget, pace: Pace) -> None:
        self.sum: int | None = None
        self.bytes_copied_back = 0
        self._name, self._device, self._host, self._pace = model_name, device, host, pace
        self._buffer: HostBuffer | None = None

    @property
    def exists(self) -> bool:
        return self._buffer is not None

    @property
    def whole(self) -> bool:
        """The copy exists, and its bytes are known."""
        return self._buffer is not None and self.sum is not None

    @property
    def nbytes(self) -> int:
        buffer = self._buffer  # read once: an unload in its own thread may come between
        return buffer.bytes.numel() if buffer is not None else 0

    @property
    def bytes(self) -> torch.Tensor:
        if self._buffer is None:
            raise RuntimeError(f"the weights of model {self._name!r} are not in host RAM")
        return self._buffer.bytes

    def keep(self, buffer: HostBuffer, its_sum: int) -> None:
        """`buffer` is the copy from now on."""
        self._buffer, self.sum = buffer, its_sum

    def drop(self) -> int:
        """Free the copy; returns its bytes."""
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            return 0
        nbytes = buffer.bytes.numel()
        buffer.close()
        return nbytes

    def forget(self) -> None:
        """Free the copy, and what was known of its bytes."""
        self.drop()
        self.sum = None

    def spared(self, arena_sum: int | None) -> None:
        """There is no copy; what is known are the bytes of the arena."""
        self.sum = arena_sum

    def take(self, arena: Arena, arena_sum: int) -> None:
        """The arena's bytes → host RAM, verified. Raises `CopyFailed`, `HostFull` or `IntegrityError`.

        arena_sum: the checksum of the arena, whose bytes are never written.
        """
        nbytes = arena.bytes.numel()
        if self._buffer is not None:
            self.sum = None  # torn until it is done
            self._copy_out(arena, self._buffer, arena_sum)
        else:
            with self._host.promised(nbytes):
                buffer = self._device.host_buffer(nbytes)
                try:
                    self._copy_out(arena, buffer, arena_sum)
                except BaseException:
                    buffer.close()
                    raise
            self._buffer = buffer
        self.sum, self.bytes_copied_back = arena_sum, nbytes

    def take_laid_out_anew(self, filling: Filling) -> None:
        """Tensors from wherever they are, in a new layout; there is no copy before. Raises `CopyFailed`, `HostFull`."""
        nbytes = filling.packing.total_bytes
        with self._host.promised(nbytes):
            buffer = self._device.host_buffer(nbytes)
            try:
                # In stretches: no copy from the device may write to two registrations of host RAM (`cuda.pinned`).
                sums = [
                    value
                    for start, end in filling.stretches()
                    for value in filling.fill(start, end, buffer.bytes[start:end])
                ]
            except RuntimeError as error:
                buffer.close()
                raise CopyFailed(f"{self._device.name}: {error}") from error
        self.keep(buffer, combined(sums))
        self.bytes_copied_back = nbytes

    def take_part(self, whole: "Mirror", whole_packing: Packing, numbers: list[int], packing: Packing) -> None:
        """Some regions of another copy, laid out as `packing`. Raises `HostFull` or `CopyFailed`."""
        with self._host.promised(packing.total_bytes):
            buffer = self._device.host_buffer(packing.total_bytes)
            # Between two places in host RAM: that is no copy of the driver's, so registrations don't matter.
            for number, region in zip(numbers, packing.regions, strict=True):
                start = whole_packing.regions[number].offset
                buffer.bytes[region.offset : region.end].copy_(whole.bytes[start : start + region.nbytes])
        self.keep(buffer, checksum(buffer.bytes))

    def _copy_out(self, arena: Arena, buffer: HostBuffer, arena_sum: int) -> None:
        started = time.monotonic()
        self._device.copy_out(arena, buffer.bytes)
        self._pace.measured(Path.COPY_BACK, buffer.bytes.numel(), time.monotonic() - started)
        if checksum(buffer.bytes) != arena_sum:
            raise IntegrityError(
                f"model {self._name!r}: other bytes arrived in host RAM than are on {self._device.name}; it stays on "
                "the GPU; the copy was thrown away, ask again"
            )
