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
from typing import Any

from ...lifecycle.background import LongLived
from ...lifecycle.clock import Clock, steady_unix_time, wall_correction
from ...lifecycle.forking import begins_anew
from ...lifecycle.registry import NotReady, Registry
from ..allowance import Allowance
from ..authority import Access
from ..shared_answer import SharedAnswer
from .reading import occupancy_of, read_state
from .state import MemoryHistory, MemorySample, PanelState
from .subscription import REPLACED, Subscription, to_replace

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
    """started_at: when it was made, in steady time. Thread-safe.

    state, history: what the page shows and draws, as JSON, shared by all who ask for it.
    """

    def __init__(
        self,
        registry: Registry,
        access: Access,
        clock: Clock = steady_unix_time,
        correction: Clock = wall_correction,
    ) -> None:
        self.started_at = clock()
        self._registry, self._access = registry, access
        self._clock, self._correction = clock, correction
        self.state = SharedAnswer("panel-state", lambda: self._read_state().to_json())
        self.history = SharedAnswer("panel-history", lambda: self._read_history().to_json())
        self._closed = False
        self._thread = LongLived("panel", self._run)
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Also in a forked child: the open pages and the chart are its parent's."""
        self._samples: deque[MemorySample] = deque(maxlen=_MOST_SAMPLES)
        self._pages: dict[Subscription, None] = {}  # the oldest first
        self._last_sent: PanelState | None = None
        self._corrected_by = self._correction()
        # Each page that comes hears the whole state; who comes and goes all the time makes no work by that.
        self._extra_looks = Allowance()
        self._condition = threading.Condition()
        self._look_now = self._failing = False

    def start(self) -> None:
        """Begin to take samples; later calls do nothing."""
        self._thread.ensure()

    def close(self) -> None:
        """End all streams and the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.close(5)

    def _read_state(self) -> PanelState:
        return read_state(self._registry, self._access, self.started_at, self._clock(), self._correction())

    def _read_history(self) -> MemoryHistory:
        correction = self._correction()
        with self._condition:
            samples = [_corrected(sample, correction) for sample in self._samples]
        seen = occupancy_of(self._registry.device)
        total = seen.total if seen is not None else None
        return MemoryHistory(every_seconds=SAMPLE_SECONDS, total_bytes=total, samples=samples)

    def subscribe(self, client: str = "") -> Subscription | None:
        """A place for a page of the running loop, which hears the whole state soon; None when the server is stopping.

        When all are taken, a page of the client that has the most ends for it.
        """
        self.start()
        page, replaced = Subscription(asyncio.get_running_loop(), client), None
        with self._condition:
            if self._closed or self._ending():
                return None
            if len(self._pages) >= MAX_STREAMS:
                replaced = to_replace(tuple(self._pages), client)
                del self._pages[replaced]
            self._pages[page] = None
            self._last_sent = None
            if self._extra_looks.take():
                self._look_now = True
                self._condition.notify()
        if replaced is not None:
            replaced.end(REPLACED)
        return page

    def unsubscribe(self, page: Subscription) -> None:
        with self._condition:
            self._pages.pop(page, None)

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
                self._end_all()
        self._end_all()

    def _look(self, sample_due: bool) -> None:
        try:
            if sample_due:
                self._sample()
            if self._correction() != self._corrected_by:
                # The chart of an open page is drawn by another clock; a page that connects anew asks for it anew.
                self._corrected_by = self._correction()
                self._end_all()
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
        self._publish("sample", _corrected(sample, self._correction()).to_json())

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
            self._keep(MemorySample(time=self._clock(), used_bytes=used, process_bytes=mine))

    def _publish(self, event: str, data: str) -> None:
        with self._condition:
            pages = list(self._pages)
        for page in pages:
            page.offer(event, data)

    def _end_all(self) -> None:
        with self._condition:
            pages = list(self._pages)
            self._pages.clear()
        for page in pages:
            page.end()

    def _ending(self) -> bool:
        return self._registry.not_ready_because() is NotReady.DRAINING or server_is_stopping()


def _corrected(sample: MemorySample, correction: float) -> MemorySample:
    return sample.model_copy(update={"time": sample.time + correction}) if correction else sample


def server_is_stopping() -> bool:
    """Whether the uvicorn that runs this app was asked to stop.

    It waits for open responses to end before it tells the app, and a stream would never end by itself: Ctrl-C in an
    app that the page is installed in would hang. uvicorn's server handles the signals, so it is found there.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True
