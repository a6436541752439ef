"""`on_gpu()`: wake the model if needed, count as a use, hold it on the GPU. For threads and for asyncio.

Three ways to get the async side wrong, each seen to happen: entering in a worker thread leaks the use
when the waiter is cancelled, so the model never sleeps again; nested use that waits for a draining
demotion deadlocks; hundreds of waiters in an executor starve the job that would wake them. So async
waiters are futures of their loop, a cancelled waiter hands its place back, and nested use joins.

And a fourth: `__exit__` that counts down may never be called, or be broken off, by an exception out of nowhere. So each
`with` statement looks up an ending of its own, which nothing else refers to, and the use ends with that (see `use`).
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..slot import Slot
from .use import Place, Use
from .waiting import ThreadSignal

T = TypeVar("T")

# The uses of this thread or task, of all models. Some may have ended: what was broken off could not take its own away.
_held: ContextVar[tuple[Use, ...]] = ContextVar("dormouse_held", default=())


class _Ending:
    """`__exit__` and `__aexit__`: what a `with` statement looks up when it begins and calls when it ends."""

    def __init__(self, leave: "Callable[..., Any]") -> None:
        self._leave = leave

    def __get__(self, hold: "Hold[Any] | None", kind: type) -> Callable[..., Any]:
        if hold is None:  # an ExitStack looks it up on the class, and gives the hold when it calls it
            return partial(self._leave, None)
        use = hold._new_use()
        ending = partial(self._leave, use, hold)
        try:
            use.belongs_to(ending)
            hold._looked_up(use)
            return ending
        finally:
            del ending  # or the traceback of an exception that strikes here would keep it, and it the use


class Hold(Generic[T]):
    """One `on_gpu()`: a context manager in both worlds; it can be entered again, also while it is held.

    function: `file:line` of what a decorator holds it for; None is where the `with` statement is.

    Raises `WakeTimeout` after `timeout` seconds (the model's wake budget when None), or at once when too many
    wait already (`QueueFull`) or the device is broken (`DeviceBroken`), `TransitionFailed` when the wake failed.
    """

    __slots__ = ("__weakref__", "_by_hand", "_function", "_next", "_slot", "_timeout")

    def __init__(self, slot: Slot[T], timeout: float | None, function: str | None = None) -> None:
        self._slot, self._timeout, self._function = slot, timeout, function
        # Looked up and not entered yet, by thread; and entered without a `with` statement, the latest last.
        self._next: list[tuple[int, Use]] = []
        self._by_hand: list[Use] = []

    def for_function(self, where: str | None) -> "Hold[T]":
        return Hold(self._slot, self._timeout, where)

    def __enter__(self) -> T:
        if _in_event_loop() and not (self._nested() and self._slot.in_use):
            raise RuntimeError(
                f"`with {self._slot.name}.on_gpu()` would block the running event loop; "
                "write `async with`, or call this in a thread"
            )
        use, signal = self._take(), ThreadSignal()
        use.entered_by(1, self._function)
        self._slot.enter(use, signal, self._timeout, _held_now())
        if use.place is Place.WAITING:
            try:
                signal.wait(use.budget_seconds)
            except BaseException:
                self._slot.abandon(use)
                raise
        self._admit(use)
        return self._slot.model()

    def __aenter__(self) -> Awaitable[T]:
        use = self._take()
        use.entered_by(1, self._function)
        return self._enter(use)

    async def _enter(self, use: Use) -> T:
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()
        self._slot.enter(use, lambda: _settle_in(loop, settled), self._timeout, _held_now())
        if use.place is Place.WAITING:
            try:
                await asyncio.wait([settled], timeout=use.budget_seconds)
            except BaseException:
                self._slot.abandon(use)
                raise
        self._admit(use)
        return self._slot.model()

    if TYPE_CHECKING:

        def __exit__(self, *error: object) -> None: ...
        async def __aexit__(self, *error: object) -> None: ...

    def _admit(self, use: Use) -> None:
        """Return when the use was granted; otherwise give the place up and raise why."""
        place = use.place if use.place is Place.GRANTED else self._slot.conclude(use)
        if place is Place.LEFT:
            raise self._slot.timed_out(use)
        if use.error is not None:
            raise use.error.with_traceback(None)
        _held.set((*_held_now(), use))

    def _nested(self) -> bool:
        return any(self._slot.has(use) for use in _held_now())

    def _new_use(self) -> Use:
        return Use(self._slot.owner_is_gone)

    def _looked_up(self, use: Use) -> None:
        for entry in tuple(self._next):
            if entry[1].orphaned:
                with suppress(ValueError):
                    self._next.remove(entry)
        self._next.append((threading.get_ident(), use))

    def _take(self) -> Use:
        """The use whose ending the `with` statement of this thread has just looked up; else one that is this hold's."""
        here = threading.get_ident()
        for entry in reversed(tuple(self._next)):
            if entry[0] == here and not entry[1].orphaned:
                self._next.remove(entry)
                return entry[1]
        use = self._new_use()
        use.belongs_to(self)
        self._by_hand.append(use)
        return use

    def _take_by_hand(self) -> Use:
        """The latest that this thread or task has entered; the latest of all where it is left by another one."""
        with suppress(StopIteration, ValueError):
            own = next(use for use in reversed(_held_now()) if use in self._by_hand)
            self._by_hand.remove(own)
            return own
        try:
            return self._by_hand.pop()
        except IndexError:
            raise RuntimeError(f"{self._slot.name}.on_gpu() was left more often than it was entered") from None


def _leave(use: Use | None, hold: Hold[Any], kind: object, error: object, trace: object) -> None:
    if use is None or use.place is Place.NEW:
        use = hold._take_by_hand()
    hold._slot.leave(use, failed=isinstance(error, Exception))
    _held.set(_held_now())


def _aleave(use: Use | None, hold: Hold[Any], kind: object, error: object, trace: object) -> "_Done":
    _leave(use, hold, kind, error, trace)
    return _DONE


class _Done:
    """Awaited, it has ended already: leaving never waits."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE = _Done()
Hold.__exit__ = _Ending(_leave)  # type: ignore[assignment, method-assign]
Hold.__aexit__ = _Ending(_aleave)  # type: ignore[assignment, method-assign]


def _held_now() -> tuple[Use, ...]:
    return tuple(use for use in _held.get() if use.open)


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
