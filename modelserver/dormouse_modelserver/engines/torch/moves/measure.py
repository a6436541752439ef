"""What a release has given back, by what the device says before and after it."""

import logging

from dormouse_contract.wire import ReleasedMethod

from ....lifecycle.engine import Released
from ..device import DeviceBackend

_log = logging.getLogger("dormouse")


class Measure:
    """Made before the release. A device that can't be asked hinders no release; nothing is claimed of it then."""

    def __init__(self, device: DeviceBackend) -> None:
        self._device = device
        self._method: ReleasedMethod | None = None
        try:
            self._before, self._method = device.held_bytes()
        except RuntimeError as error:
            _log.warning("%s can't be asked what is held there: %s", device.name, error)

    def released(self, held: int) -> Released:
        """Of `held` bytes of weights; what others have given back meanwhile is not theirs."""
        if self._method is None:
            return Released()
        try:
            after, method = self._device.held_bytes()
        except RuntimeError as error:
            _log.warning("%s can't be asked what is held there: %s", self._device.name, error)
            return Released()
        if method != self._method:  # NVML was given up in between; two ways to count can't be subtracted
            _log.warning("%s: a release was counted by %s and then by %s", self._device.name, self._method, method)
            return Released()
        given_back = min(max(0, self._before - after), held)
        return Released(given_back, held - given_back, self._method)
