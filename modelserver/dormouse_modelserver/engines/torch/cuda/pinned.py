"""Pinned host memory of exact size. torch's own rounds up to a power of two: 33 GB would pin 64 (pytorch#95823)."""

from collections.abc import Iterator
from contextlib import suppress

import torch

from ....errors import CopyFailed
from ..host_pages import host_pages

# cudaHostRegister is called in pieces of at most this size. A multiple of the chunk that is copied at once, so no
# copy reads from two registrations, which the driver need not allow.
REGISTER_BYTES = 1 << 30


def chunks(nbytes: int, offset: int, chunk_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut `nbytes` that begin at byte `offset` of a buffer where the buffer's own chunks end, and so its registrations:
    first byte and the one past the last, counted from `offset`."""
    start = 0
    while start < nbytes:
        end = min(start + chunk_bytes - (offset + start) % chunk_bytes, nbytes)
        yield start, end
        start = end


class PinnedBuffer:
    """Pages of its own, registered with the driver.

    The driver pins whole pages and refuses a page that is registered already, so no two buffers, nor two pieces of a
    large one, may meet in one.
    """

    def __init__(self, nbytes: int, device: torch.device, *, pinned: bool = True) -> None:
        self._device, self._nbytes = device, nbytes
        self._tensor: torch.Tensor | None = host_pages(nbytes)
        self._registered: list[int] = []
        if pinned:
            self.pin()

    def pin(self) -> None:
        """Raises `CopyFailed`; it is closed then."""
        if self._tensor is None or self._registered:
            return
        nbytes = self._nbytes
        cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        # Flag 0 is enough: with unified addressing pinned memory is portable, known to every context. The call
        # makes a context where the thread has none, so it must be on the device that is meant.
        with torch.cuda.device(self._device):
            for start in range(0, nbytes, REGISTER_BYTES):
                address = self._tensor.data_ptr() + start
                code = cudart.cudaHostRegister(address, min(REGISTER_BYTES, nbytes - start), 0)
                if int(code) != 0:
                    self.close()
                    _clear_last_error(self._device)
                    raise CopyFailed(
                        f"the CUDA driver refused to pin {nbytes} bytes of host RAM "
                        f"({cudart.cudaGetErrorString(code)}); no weights were moved. "
                        "Give the process more memory or unload another model, and ask again"
                    )
                self._registered.append(address)

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the host buffer is closed")
        return self._tensor

    def close(self) -> None:
        cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        with torch.cuda.device(self._device):
            codes = [int(cudart.cudaHostUnregister(address)) for address in self._registered]
        if any(codes):
            _clear_last_error(self._device)
        self._registered.clear()
        self._tensor = None


def _clear_last_error(device: torch.device) -> None:
    """CUDA keeps a refusal as the thread's last error, and the next kernel that the thread launches would raise it.

    torch's `cudart()` has no `cudaGetLastError`. But each launch asks for it, which clears it, and raises what it got;
    so does an allocation that fails.
    """
    with suppress(RuntimeError):
        torch.empty(1, dtype=torch.uint8, device=device).fill_(0)
