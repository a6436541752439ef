"""Ends a use that the garbage collector found, in a thread that holds none of our locks.

An answer that nobody listens to any more is an abandoned generator, and it holds its model. When it is part of a
cycle, Python closes it in the middle of whatever some thread happens to do, also inside one of our critical
sections: waiting for that lock there would be waiting for oneself, and the event loop would hang for good.
"""

import gc
import queue
import threading
from collections.abc import Callable

from ..background import LongLived

_collecting: set[int] = set()
# Its `put` may be called by a finalizer: it takes no lock that the same thread could hold.
_ended: "queue.SimpleQueue[Callable[[], None]]" = queue.SimpleQueue()
_starting = threading.Lock()
_started = False


def start() -> None:
    """Before there is anything to end: a thread can't be started within a collection."""
    global _started
    with _starting:
        if not _started:
            _started = True
            gc.callbacks.append(_note)
    _thread.ensure()


def outside_collection(action: Callable[[], None]) -> None:
    """At once; soon and elsewhere when this thread is in a garbage collection."""
    if threading.get_ident() in _collecting:
        _ended.put(action)
    else:
        _thread.ensure()  # not within a collection; it may have been at a limit of threads before
        action()


def _note(phase: str, info: dict[str, int]) -> None:
    (_collecting.add if phase == "start" else _collecting.discard)(threading.get_ident())


def _work() -> None:
    while True:
        _ended.get()()
        _thread.worked()


_thread = LongLived("finalizer", _work)
