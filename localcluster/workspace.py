"""The directory of one cluster: private, gone at the end, and swept up later when its owner was killed.

SIGKILL stops every child (`warden.py`), but nobody is left to delete files, and an etcd leaves about 130 MB.
So each directory has a lock that its owner holds while it lives; the next start removes those whose lock is
free.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from localcluster.errors import LocalClusterError

PREFIX = "dormouse-cluster-"
# Between mkdtemp and flock a directory looks abandoned; nothing that young is touched.
SWEEP_AFTER_SECONDS = 60.0


class Workspace:
    """`path` exists from construction until `remove()`."""

    def __init__(self, directory: Path | None = None) -> None:
        """Without `directory` a fresh one that `remove()` deletes; a given one is created, used and kept."""
        self._ours = directory is None
        if directory is None:
            _sweep()
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        else:
            self.path = directory.absolute()
            self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise LocalClusterError(
                f"Another cluster runs in {self.path}. It goes on. Stop it, or choose another one."
            ) from None

    def remove(self) -> None:
        """Delete a directory of our own making; call it after the processes in it ended."""
        if self._ours:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep() -> None:
    for candidate in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            details = candidate.stat()
            if details.st_uid != os.getuid() or time.time() - details.st_mtime < SWEEP_AFTER_SECONDS:
                continue
            handle = os.open(candidate / ".lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(candidate, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)
