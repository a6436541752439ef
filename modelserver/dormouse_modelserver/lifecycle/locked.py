"""A critical section that an exception out of nowhere can't leave locked.

A signal handler, or `PyThreadState_SetAsyncExc`, raises between any two steps of Python code. `with lock` gives the
lock back after most of them, not all, and a `Condition` is left in Python code of its own. A lock that nobody gives
back stops the model for good, so what a user's thread does is done in here.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")
Lock = threading.RLock


def locked(lock: "threading.RLock", action: Callable[[], R]) -> R:
    """Call `action` with the lock held. It may be broken off half-way: what it does must be fit to be done again."""
    if held_here(lock):  # a signal handler, or a finalizer, in the middle of another section of this thread
        with lock:
            return action()
    try:
        try:
            lock.acquire()
            return action()
        finally:
            if held_here(lock):
                lock.release()
    finally:
        # When the first one was itself broken off.
        if held_here(lock):
            lock.release()


def held_here(lock: "threading.RLock") -> bool:
    """Whether this thread is inside of a section now."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]
