"""Memory on the device for one bundle, at the same address each time where that was asked for."""

from ..device import Arena, DeviceBackend, Reservation


class Placing:
    """stable: CUDA graphs and compiled code hold the addresses. One caller at a time."""

    def __init__(self, device: DeviceBackend, *, stable: bool) -> None:
        self._device, self._stable = device, stable
        self._reservation: Reservation | None = None
        self._reserved_bytes = 0

    def allocate(self, nbytes: int) -> Arena:
        """Raises `DeviceFull`, or `ConfigurationError` where addresses can't be reserved."""
        if not self._stable:
            return self._device.allocate(nbytes)
        if self._reservation is None or self._reserved_bytes != nbytes:
            self.close()  # other weights than before: they can't be where the old ones were
            self._reservation, self._reserved_bytes = self._device.reserve(nbytes), nbytes
        return self._reservation.allocate()

    def close(self) -> None:
        """Give the addresses back. Once refused, it is tried again before the next ones are reserved."""
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None
