"""Who holds how much of a simulated device: within one process, or shared by several through a file."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ....errors import ConfigurationError, TransitionFailed
from .account_file import AccountFile, locked, start_time

_log = logging.getLogger("dormouse")


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


@dataclass(slots=True)
class _Own:
    """What this process holds of one file."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    nbytes: int = 0


# By process and path: a forked child holds nothing of what its parent does.
_own: dict[tuple[int, str], _Own] = {}


class FileAccount:
    """A JSON file under an exclusive lock: `{"capacity": N, "holders": {"PID:STARTTIME": bytes}}`.

    A holder that has died holds nothing: its entry is dropped at the next access, as a driver frees the
    memory of a dead process. The start time tells a dead process from a new one with the same PID.

    Each process knows what it holds itself, on however many devices of that path, and writes it at each access. So a
    file that was damaged or deleted is begun anew, and all that live are in it again soon.

    Raises `ConfigurationError` at first, later `TransitionFailed`, for a file that can't be used.
    """

    def __init__(self, path: str, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._path = Path(path)
        self._said = False
        self.begin_anew()
        try:
            with self._opened() as account:
                capacity = account.capacity
                account.write()
        except OSError as error:
            raise ConfigurationError(self._unusable(error)) from error
        if capacity != capacity_bytes:
            raise ConfigurationError(
                f"the simulated device at {path} has {capacity} bytes and this process asks for "
                f"{capacity_bytes}; give every process that shares it the same size"
            )

    def begin_anew(self) -> None:
        self._me = f"{os.getpid()}:{start_time(os.getpid())}"
        self._own = _own.setdefault((os.getpid(), os.path.realpath(self._path)), _Own())

    def take(self, nbytes: int) -> int | None:
        with self._in_words(), self._opened() as account:
            room = account.capacity - sum(account.holders.values())
            if nbytes > room:
                return room
            account.holders[self._me] = self._own.nbytes + nbytes
            account.write()
            self._own.nbytes += nbytes
            return None

    def give_back(self, nbytes: int) -> None:
        """Given back in any case: a file that can't be written now says so at the next access that can."""
        with self._own.lock:
            self._own.nbytes = max(0, self._own.nbytes - nbytes)
        self._look()

    def used(self) -> tuple[int, int]:
        holders = self._look()
        return sum(holders.values()), holders[self._me]

    def holders(self) -> dict[int, int]:
        return {int(who.partition(":")[0]): held for who, held in self._look().items() if held}

    def _look(self) -> dict[str, int]:
        """What everybody holds, with ours written where that is possible; ours alone of a file that can't be read."""
        try:
            with self._opened() as account:
                with suppress(OSError):
                    account.write()
                return account.holders
        except OSError as error:
            self._say(self._unusable(error))
            return {self._me: self._own.nbytes}

    @contextmanager
    def _opened(self) -> Iterator[AccountFile]:
        """The account under both locks, ours in it."""
        with self._own.lock, locked(self._path, self._say) as account:
            account.holders[self._me] = self._own.nbytes
            if not account.capacity or not any(account.holders.values()):
                # With nobody on it, a device of an earlier run may come back in another size.
                account.capacity = self.capacity_bytes
            yield account

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransitionFailed(self._unusable(error)) from error

    def _unusable(self, error: OSError) -> str:
        if isinstance(error, IsADirectoryError):
            return (
                f"the simulated device's account {self._path} can't be used: {self._path} is a folder; write the path "
                f"of a file, for example {self._path}/gpu"
            )
        return (
            f"the simulated device's account {self._path} can't be used: {error.strerror or error}. Nothing was taken "
            "from it. Make it a file that this user may write, on a disk with room"
        )

    def _say(self, sentence: str) -> None:
        """Once: every access would say it again."""
        if not self._said:
            self._said = True
            _log.warning("%s", sentence)
