"""`on_gpu()`: wake the model if needed, count as a use, hold it on the GPU. For threads and for asyncio.

Three ways to get the async side wrong, each seen to happen: entering in a worker thread leaks the use
when the waiter is cancelled, so the model never sleeps again; nested use that waits for a draining
demotion deadlocks; hundreds of waiters in an executor starve the job that would wake them. So async
waiters are futures of their loop, a cancelled waiter hands its place back, and nested use joins.
"""

import asyncio
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

from ..slot import Slot
from .finalizing import outside_collection
from .waiting import Place, ThreadSignal, Waiter

T = TypeVar("T")

# The uses of this thread or task and what it called, of all models. Some may have ended elsewhere.
_held: ContextVar[tuple[Waiter, ...]] = ContextVar("dormouse_held", default=())


class Hold(Generic[T]):
    """One `on_gpu()`: a context manager in both worlds, without state of its own, so it can be entered again.

    Raises `WakeTimeout` after `timeout` seconds (the model's wake budget when None), or at once when too many
    wait already (`QueueFull`) or the device is broken (`DeviceBroken`), `TransitionFailed` when the wake failed.
    """

    __slots__ = ("_slot", "_timeout")

    def __init__(self, slot: Slot[T], timeout: float | None) -> None:
        self._slot, self._timeout = slot, timeout

    def __enter__(self) -> T:
        if _in_event_loop() and not (self._nested() and self._slot.in_use):
            raise RuntimeError(
                f"`with {self._slot.name}.on_gpu()` would block the running event loop; "
                "write `async with`, or call this in a thread"
            )
        signal = ThreadSignal()
        waiter = self._slot.enter(signal, self._timeout, _held.get())
        if waiter.place is Place.WAITING:
            try:
                signal.wait(waiter.budget_seconds)
            except BaseException:
                outside_collection(partial(self._slot.abandon, waiter))
                raise
            self._admit(waiter)
        _held.set((*_held.get(), waiter))
        return self._slot.model()

    async def __aenter__(self) -> T:
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()
        waiter = self._slot.enter(lambda: _settle_in(loop, settled), self._timeout, _held.get())
        if waiter.place is Place.WAITING:
            try:
                await asyncio.wait([settled], timeout=waiter.budget_seconds)
            except BaseException:
                outside_collection(partial(self._slot.abandon, waiter))
                raise
            self._admit(waiter)
        _held.set((*_held.get(), waiter))
        return self._slot.model()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        outside_collection(partial(self._slot.leave, failed=isinstance(error, Exception)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _admit(self, waiter: Waiter) -> None:
        """Return when the use was granted; otherwise give the place up and raise why."""
        place = self._slot.conclude(waiter)
        if place is Place.LEFT:
            raise self._slot.timed_out(waiter)
        if waiter.error is not None:
            raise waiter.error.with_traceback(None)

    def _nested(self) -> bool:
        return any(self._slot.has(use) for use in _held.get())

    def _let_go(self) -> None:
        mine = [use for use in _held.get() if self._slot.has(use)]
        if mine:
            mine[-1].place = Place.LEFT
        _held.set(tuple(use for use in _held.get() if use.place is Place.GRANTED))


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _settle_in(loop: asyncio.AbstractEventLoop, settled: "asyncio.Future[None]") -> bool:
    """From any thread. False when the loop has closed and nobody is left to tell."""

    def settle() -> None:
        if not settled.done():
            settled.set_result(None)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return False
    return True
