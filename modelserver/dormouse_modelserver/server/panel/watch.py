"""Looks at the models and the device from a thread of its own, for every open page at once.

Not from the event loop: the driver and a shared account may block, and the app's loop has requests to answer. Not
once per page either: ten open pages ask the driver no more often than one. With no page open it only takes the
samples of the chart.
"""

import asyncio
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dormouse_contract.problems import ProblemReason

from ...lifecycle import background
from ...lifecycle.background import LongLived
from ...lifecycle.clock import Clock, steady_unix_time
from ...lifecycle.registry import NotReady, Registry
from ..authority import Access
from ..problems import Refusal
from .reading import occupancy_of, read_state
from .state import MemoryHistory, MemorySample, PanelState
from .subscription import Subscription

R = TypeVar("R")
_log = logging.getLogger("dormouse")

SAMPLE_SECONDS = 5.0
_HOUR_SECONDS = 3600.0
# Twice as many: an open page sees changes between the samples, and they are kept as well.
_MOST_SAMPLES = 2 * int(_HOUR_SECONDS / SAMPLE_SECONDS) + 1
# While a page is open: at most two events a second.
_LOOK_SECONDS = 0.5
# Each open page holds a connection for as long as it is open.
MAX_STREAMS = 16
# What the page counts on by itself; and the room in host RAM, which moves with everything on the machine and is told
# with what else changes, or with the next sample.
_COUNTED_ON = {"now": True, "models": {"__all__": {"saved_byte_seconds"}}}
_MOVES_ALL_THE_TIME = {**_COUNTED_ON, "host_room_bytes": True}


class Watch:
    """started_at: when it was made, Unix seconds. Thread-safe."""

    def __init__(self, registry: Registry, access: Access, clock: Clock = steady_unix_time) -> None:
        self.started_at = clock()
        self._registry, self._access, self._clock = registry, access, clock
        self._samples: deque[MemorySample] = deque(maxlen=_MOST_SAMPLES)
        self._pages: set[Subscription] = set()
        self._last_sent: PanelState | None = None
        self._condition = threading.Condition()
        self._closed = self._look_now = self._failing = False
        self._thread = LongLived("panel", self._run)
        # Not the loop's own threads: an app's requests that wait for a model may fill those.
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="dormouse-panel-read")

    def start(self) -> None:
        """Begin to take samples; later calls do nothing."""
        self._thread.ensure()

    def close(self) -> None:
        """End all streams and the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.close(5)
        self._readers.shutdown(wait=False)

    async def state(self) -> PanelState:
        return await self._in_a_reader(self._read_state)

    async def history(self) -> MemoryHistory:
        return await self._in_a_reader(self._read_history)

    async def _in_a_reader(self, read: Callable[[], R]) -> R:
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._readers, read)
        except RuntimeError as error:  # at a limit of threads, or closed
            background.count_failure("panel-read", error)
            detail = f"The page's figures can't be read now ({error}). The models are as they were; ask again"
            raise Refusal(503, ProblemReason.CANNOT_NOW, "No thread to read with", detail, retry_after=1.0) from error
        return await answer

    def _read_state(self) -> PanelState:
        return read_state(self._registry, self._access, self.started_at, self._clock())

    def _read_history(self) -> MemoryHistory:
        with self._condition:
            samples = list(self._samples)
        seen = occupancy_of(self._registry.device)
        total = seen.total if seen is not None else None
        return MemoryHistory(every_seconds=SAMPLE_SECONDS, total_bytes=total, samples=samples)

    def subscribe(self) -> Subscription | None:
        """A place for a page of the running loop, which hears the whole state at once; None when all are taken."""
        self.start()
        page = Subscription(asyncio.get_running_loop())
        with self._condition:
            if self._closed or self._ending() or len(self._pages) >= MAX_STREAMS:
                return None
            self._pages.add(page)
            self._last_sent, self._look_now = None, True
            self._condition.notify()
        return page

    def unsubscribe(self, page: Subscription) -> None:
        with self._condition:
            self._pages.discard(page)

    def _run(self) -> None:
        next_sample = self._clock()
        while True:
            sample_due = self._clock() >= next_sample
            if sample_due:
                next_sample = self._clock() + SAMPLE_SECONDS
            self._look(sample_due)
            with self._condition:
                if not self._closed and not self._look_now:
                    left = max(0.0, next_sample - self._clock())
                    self._condition.wait(min(left, _LOOK_SECONDS) if self._pages else left)
                self._look_now = False
                if self._closed:
                    break
                ending = self._ending()
            if ending:
                self._publish("end", None)
        self._publish("end", None)

    def _look(self, sample_due: bool) -> None:
        try:
            if sample_due:
                self._sample()
            with self._condition:
                pages = bool(self._pages)
            if pages:
                self._tell_what_changed(_COUNTED_ON if sample_due else _MOVES_ALL_THE_TIME)
            self._failing = False
        except Exception:  # whatever a driver or a shared account may raise: the next look may succeed
            if not self._failing:
                _log.exception("the page's figures can't be read; trying again, and said once until it works")
            self._failing = True

    def _sample(self) -> None:
        seen = occupancy_of(self._registry.device)
        if seen is None:
            return
        self._keep(MemorySample(time=self._clock(), used_bytes=seen.used, process_bytes=seen.used_by_this_process))

    def _keep(self, sample: MemorySample) -> None:
        with self._condition:
            self._samples.append(sample)
            while self._samples[0].time < sample.time - _HOUR_SECONDS:
                self._samples.popleft()
        self._publish("sample", sample.to_json())

    def _tell_what_changed(self, leaving_out: Any) -> None:
        state = self._read_state()
        last = self._last_sent
        if last is None or state.model_dump(exclude=leaving_out) != last.model_dump(exclude=leaving_out):
            self._last_sent = state
            self._publish("state", state.to_json())
        used, mine = state.device.used_bytes, state.device.process_bytes
        if used is None:
            return
        if not self._samples or (used, mine) != (self._samples[-1].used_bytes, self._samples[-1].process_bytes):
            self._keep(MemorySample(time=state.now, used_bytes=used, process_bytes=mine))

    def _publish(self, event: str, data: str | None) -> None:
        with self._condition:
            pages = list(self._pages)
            if data is None:
                self._pages.clear()
        for page in pages:
            page.offer(event, data)

    def _ending(self) -> bool:
        return self._registry.not_ready_because() is NotReady.DRAINING or server_is_stopping()


def server_is_stopping() -> bool:
    """Whether the uvicorn that runs this app was asked to stop.

    It waits for open responses to end before it tells the app, and a stream would never end by itself: Ctrl-C in an
    app that the page is installed in would hang. uvicorn's server handles the signals, so it is found there.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True
