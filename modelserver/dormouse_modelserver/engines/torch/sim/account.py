"""Who holds how much of a simulated device: within one process, or shared by several through a file."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ....errors import ConfigurationError


class Account(Protocol):
    capacity_bytes: int

    def begin_anew(self) -> None:
        """In a forked child: this process holds nothing."""
        ...

    def take(self, nbytes: int) -> int | None:
        """Take the bytes and return None, or take nothing and return the room that there is."""
        ...

    def give_back(self, nbytes: int) -> None: ...

    def used(self) -> tuple[int, int]:
        """Bytes taken by everybody, and by this process."""
        ...

    def holders(self) -> dict[int, int]:
        """Bytes by process id, of those that hold any."""
        ...


class LocalAccount:
    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.begin_anew()

    def begin_anew(self) -> None:
        self._used = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> int | None:
        with self._lock:
            room = self.capacity_bytes - self._used
            if nbytes > room:
                return room
            self._used += nbytes
            return None

    def give_back(self, nbytes: int) -> None:
        with self._lock:
            self._used -= nbytes

    def used(self) -> tuple[int, int]:
        with self._lock:
            return self._used, self._used

    def holders(self) -> dict[int, int]:
        with self._lock:
            return {os.getpid(): self._used} if self._used else {}


class FileAccount:
    """A JSON file under an exclusive lock: `{"capacity": N, "holders": {"PID:STARTTIME": bytes}}`.

    A holder that has died holds nothing: its entry is dropped at the next access, as a driver frees the
    memory of a dead process. The start time tells a dead process from a new one with the same PID.
    """

    def __init__(self, path: str, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.begin_anew()
        with self._opened() as (capacity, _):
            if capacity != capacity_bytes:
                raise ConfigurationError(
                    f"the simulated device at {path} has {capacity} bytes and this process asks for "
                    f"{capacity_bytes}; give every process that shares it the same size"
                )

    def begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._me = f"{os.getpid()}:{_start_time(os.getpid())}"

    def take(self, nbytes: int) -> int | None:
        with self._opened() as (capacity, holders):
            room = capacity - sum(holders.values())
            if nbytes > room:
                return room
            holders[self._me] = holders.get(self._me, 0) + nbytes
            return None

    def give_back(self, nbytes: int) -> None:
        with self._opened() as (_, holders):
            holders[self._me] = max(0, holders.get(self._me, 0) - nbytes)

    def used(self) -> tuple[int, int]:
        with self._opened() as (_, holders):
            return sum(holders.values()), holders.get(self._me, 0)

    def holders(self) -> dict[int, int]:
        with self._opened() as (_, holders):
            return {int(who.partition(":")[0]): held for who, held in holders.items() if held}

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, dict[str, int]]]:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._lock:
                fcntl.flock(file, fcntl.LOCK_EX)
                text = os.pread(file, 1 << 20, 0).decode()
                # raw_decode: a process killed between write and truncate leaves old bytes behind the JSON.
                state: dict[str, Any] = {"capacity": self.capacity_bytes, "holders": {}}
                if text:
                    state = json.JSONDecoder().raw_decode(text)[0]
                holders = {who: held for who, held in state["holders"].items() if _alive(who)}
                # With nobody on it, a device of an earlier run may come back in another size.
                capacity = state["capacity"] if holders else self.capacity_bytes
                yield capacity, holders
                held = {who: nbytes for who, nbytes in holders.items() if nbytes}
                new = json.dumps({"capacity": capacity, "holders": held}).encode()
                os.pwrite(file, new, 0)
                os.ftruncate(file, len(new))
        finally:
            os.close(file)


def _alive(holder: str) -> bool:
    pid, _, started = holder.partition(":")
    return _start_time(int(pid)) == started


def _start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat (clock ticks since boot); empty when there is no such process.

    One that has ended and was not waited for by its parent yet (a zombie) is there no more: it holds nothing.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]
