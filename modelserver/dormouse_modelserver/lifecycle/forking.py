"""After a fork: what was copied into the child begins anew there.

A child has one thread, and a copy of everything: locks that another thread of the parent held and nobody gives back,
uses that nobody ends, a move half made. None of it can be repaired, so each part forgets it: in the child every model
is unloaded and nobody uses it, and the first use loads it as in a fresh process.
"""

import os
import weakref
from typing import Protocol


class BeginsAnew(Protocol):
    def begin_anew(self) -> None:
        """In the child, before anything else runs there. Starts no thread, and raises nothing."""
        ...


_known: "list[weakref.ref[BeginsAnew]]" = []


def begins_anew(part: BeginsAnew) -> None:
    """From now on, in each forked child: in the order in which they were made known. Remembered weakly."""
    _known.append(weakref.ref(part, _known.remove))


def _in_child() -> None:
    for known in tuple(_known):
        part = known()
        if part is not None:
            part.begin_anew()


os.register_at_fork(after_in_child=_in_child)
