"""Asks the device how much of it is used, beside the event loop: a driver may take its time, and requests wait."""

import asyncio
import logging
import threading
from concurrent.futures import Future

from ..lifecycle import background
from ..lifecycle.device import Device, DeviceMemory
from ..lifecycle.forking import begins_anew

_log = logging.getLogger("dormouse")
# A scrape is given up after 8 s by the sidecar; it should have everything else until then.
_ANSWER_SECONDS = 5.0


class MemoryReading:
    """One question at a time, in a daemon thread: whoever comes while one is under way gets its answer.

    So a driver that hangs costs one thread, however often it is scraped, and doesn't keep the process from ending.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Also in a forked child, where nobody answers what its parent had asked."""
        self._lock = threading.Lock()
        self._under_way: Future[DeviceMemory | None] | None = None

    async def now(self) -> DeviceMemory | None:
        """None when it can't be measured: the device is broken, refuses, or does not answer in time."""
        if self._device.broken is not None:
            return None
        answer = asyncio.wrap_future(self._ask())
        done, _ = await asyncio.wait([answer], timeout=_ANSWER_SECONDS)
        if not done:
            _log.warning("device %s does not say how much is in use; left out of the metrics", self._device.name)
        return answer.result() if done else None

    def _ask(self) -> "Future[DeviceMemory | None]":
        with self._lock:
            if self._under_way is None:
                asked: Future[DeviceMemory | None] = Future()
                # Running: who gives up waiting can't cancel what others wait for as well.
                asked.set_running_or_notify_cancel()
                try:
                    threading.Thread(target=self._read, args=(asked,), name="dormouse-memory", daemon=True).start()
                except Exception as error:  # at a limit of threads: the other figures are good
                    background.count_failure("memory", error)
                    asked.set_result(None)
                    return asked
                self._under_way = asked
            return self._under_way

    def _read(self, asked: "Future[DeviceMemory | None]") -> None:
        memory = None
        try:
            memory = self._device.memory()
        except Exception as error:  # whatever a driver or a shared account may raise: the other figures are good
            if self._device.broken is None:
                _log.warning("device %s: its memory can't be read (%s)", self._device.name, error)
        with self._lock:
            self._under_way = None
        asked.set_result(memory)
