"""The limit to measure against: a plain `copy_` of the same bytes, to the memory that a restore copies to."""

import time

from dormouse_modelserver.engines.torch.device import DeviceBackend

# A larger source would be read no faster, and on a GPU's host it would have to be pinned beside the mirror. Within one
# registration of pinned memory: a copy that crosses two, the driver need not allow.
_LARGEST_SOURCE_BYTES = 1 << 30


class Memcpy:
    """Host RAM → device, one call for at most 1 GiB, both sides touched before."""

    def __init__(self, nbytes: int, device: DeviceBackend) -> None:
        self._nbytes, self._device = nbytes, device
        self._source = device.host_buffer(min(nbytes, _LARGEST_SOURCE_BYTES))
        self._source.bytes.fill_(1)

    def seconds(self) -> float:
        """The device must have room, so the model is off it. Allocating isn't counted."""
        arena = self._device.allocate(self._nbytes)
        try:
            source, target = self._source.bytes, arena.bytes
            self._device.synchronize()
            started = time.perf_counter()
            for part in target.split(source.numel()):  # type: ignore[no-untyped-call]
                part.copy_(source[: part.numel()], non_blocking=True)
            self._device.synchronize()
            return time.perf_counter() - started
        finally:
            del source, target, part
            arena.close()

    def close(self) -> None:
        self._source.close()
