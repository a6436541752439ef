"""Threads that must not be lost: one that can't start is started later, one whose work raises begins again.

A model sleeps because a timer's thread runs. A process at its limit of threads starts none, and a plain `Thread` ends
with the first exception that nobody foresaw; either way nothing would sleep any more, and nobody would know. So these
threads are started again at the next need (a use, a move, a look at `/healthz` or `/metrics`), and each failure is
counted for `dormouse_background_failures_total`.

Threads belong to the process, and so does what is kept here: all managers of a process share it.
"""

import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable

from .forking import begins_anew
from .locked import Lock, held_here, locked

_log = logging.getLogger("dormouse")

# Between a failure and the next try.
_PAUSE_SECONDS = 1.0
# So many failures without a success in between are no accident.
_KEEPS_FAILING = 3

_lock = threading.Lock()
_failures: Counter[str] = Counter()
_all: "weakref.WeakSet[LongLived]" = weakref.WeakSet()
_missing: "set[LongLived]" = set()


class LongLived:
    """A thread that runs `work` until it returns, and again after each exception. Thread-safe; nothing here raises of
    itself.

    name: the label of the metric; the thread is `dormouse-<name>`. Not started before `ensure`.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.name, self._work = name, work
        self._closed = threading.Event()
        self.begin_anew()
        begins_anew(self)
        with _lock:
            _all.add(self)

    def begin_anew(self) -> None:
        """Also in a forked child, which has no thread of its parent's: it runs there once it is needed."""
        closed, self._closed = self._closed.is_set(), threading.Event()
        if closed:
            self._closed.set()
        self._starting = Lock()
        self._thread: threading.Thread | None = None
        self._in_a_row, self._last_error = 0, ""

    def ensure(self) -> None:
        """Start it unless it runs; when that fails, again at the next need."""
        if self.runs or self._closed.is_set() or held_here(self._starting):
            return
        locked(self._starting, self._start)

    def _start(self) -> None:
        try:
            if not self.runs:
                self._thread = threading.Thread(target=self._run, name=f"dormouse-{self.name}", daemon=True)
                self._thread.start()
            _missing.discard(self)  # one step, as `add` is: an exception out of nowhere leaves no lock held here
        except (RuntimeError, MemoryError) as error:  # at a limit of threads; anything else is the user's
            _missing.add(self)
            self.failed(error)

    @property
    def wanted(self) -> bool:
        """It was to run, and has not done its work yet."""
        return self._thread is not None and not self._closed.is_set()

    @property
    def runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def failed(self, error: BaseException) -> None:
        """A part of the work failed: counted, and said once until it works again."""
        self._in_a_row += 1
        self._last_error = f"{type(error).__name__}: {error}"
        count_failure(self.name, error, say=self._in_a_row == 1)

    def worked(self) -> None:
        """A round of the work went well."""
        self._in_a_row = 0

    @property
    def problem(self) -> str | None:
        """What a person should know: that it does not run, or fails again and again."""
        if self._closed.is_set():
            return None
        if not self.runs and self._in_a_row:
            return f"thread {self.name} does not run ({self._last_error})"
        if self._in_a_row >= _KEEPS_FAILING:
            return f"thread {self.name} failed {self._in_a_row} times in a row ({self._last_error})"
        return None

    def close(self, within_seconds: float | None = None) -> None:
        """Its owner has told `work` to return: no new start, and wait for its end."""
        self._closed.set()
        with _lock:
            _missing.discard(self)
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(within_seconds)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._work()
                self._closed.set()
                return
            except BaseException as error:
                self.failed(error)
                self._closed.wait(_PAUSE_SECONDS)


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _missing.clear()


os.register_at_fork(after_in_child=_begin_anew)


def count_failure(name: str, error: BaseException, *, say: bool = True) -> None:
    """Of a thread or of a start; also of threads that live for one task only."""
    with _lock:
        _failures[name] += 1
    if say:
        _log.error("thread %s failed and is tried again: %s", name, error, exc_info=error)


def failures() -> dict[str, int]:
    """By thread, since the process began; 0 for those that never failed."""
    with _lock:
        return {**dict.fromkeys(sorted(thread.name for thread in _all), 0), **_failures}


def start_missing() -> None:
    """Try again to start what could not be started. Costs nothing while there is none."""
    if _missing:
        with _lock:
            missing = tuple(_missing)
        for thread in missing:
            thread.ensure()


def problems() -> list[str]:
    """Of the threads that should run now; those that are missing are tried once more first."""
    with _lock:
        threads = tuple(_all)
    for thread in threads:
        if thread.wanted:
            thread.ensure()
    return sorted({problem for thread in threads if (problem := thread.problem) is not None})
