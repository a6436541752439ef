"""Where what was built or downloaded stays, so that the second start is instant.

One folder per user, not per checkout: building the binaries takes about ten minutes on two cores, and
every checkout needs the same ones.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """`$DORMOUSE_CACHE`, else `$XDG_CACHE_HOME/dormouse`, else `~/.cache/dormouse`. Not created yet."""
    if chosen := os.environ.get("DORMOUSE_CACHE"):
        return Path(chosen).expanduser().absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute() / "dormouse"
    return Path.home() / ".cache" / "dormouse"


@contextmanager
def exclusive(lock_file: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold `lock_file` against other processes; `on_wait` is called once when somebody else has it.

    An flock goes away with its holder however that one died, so no stale lock can ever need cleaning up. The
    file itself stays: removing it would let two processes lock two different files of the same name.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
