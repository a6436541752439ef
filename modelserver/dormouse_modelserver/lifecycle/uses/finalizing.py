"""A thread of ours for what must be done soon, and not in the thread that found it.

What the garbage collector ends, it ends in the middle of whatever some thread happens to do, also inside one of our
critical sections: waiting for that lock there would be waiting for oneself, and the event loop would hang for good.
"""

import gc
import os
import queue
import threading
from collections.abc import Callable

from ..background import LongLived

_collecting: set[int] = set()
# Its `put` may be called by a finalizer: it takes no lock that the same thread could hold.
_waiting: "queue.SimpleQueue[Callable[[], object]]" = queue.SimpleQueue()


def start() -> None:
    """Before there is anything to do: a thread can't be started within a collection."""
    _thread.ensure()


def runs() -> bool:
    """False at a limit of threads: what is to be done soon waits until it could be started."""
    return _thread.runs


def soon(action: Callable[[], object]) -> None:
    _waiting.put(action)


def collecting_here() -> bool:
    """Whether this thread is in a garbage collection."""
    return threading.get_ident() in _collecting


def _note(phase: str, info: dict[str, int]) -> None:
    (_collecting.add if phase == "start" else _collecting.discard)(threading.get_ident())


gc.callbacks.append(_note)


def _begin_anew() -> None:
    """In a forked child: the thread is not there, nor is whoever held the queue's lock."""
    global _waiting
    _waiting = queue.SimpleQueue()
    _collecting.clear()


os.register_at_fork(after_in_child=_begin_anew)


def _work() -> None:
    while True:
        action = _waiting.get()
        try:
            action()
        except Exception as error:
            _thread.failed(error)
        else:
            _thread.worked()
        del action  # or it would hold its model until the next one comes


_thread = LongLived("finalizer", _work)
