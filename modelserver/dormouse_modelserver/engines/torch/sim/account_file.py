"""The file of a shared simulated device: locked, read with suspicion, and begun anew where it is damaged.

Whoever has the lock of the file that is at the path now has the account. A damaged one is put aside under another name
rather than overwritten: somebody may have named a file that is none of ours.
"""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Hundreds of holders are 10 KiB.
_MOST_BYTES = 1 << 20


@dataclass(slots=True)
class AccountFile:
    """capacity: 0 where the file says none that can be. holders: bytes by "PID:STARTTIME", of those that live."""

    file: int
    capacity: int = 0
    holders: dict[str, int] = field(default_factory=dict)
    content: bytes = b""

    def write(self) -> None:
        """Raises OSError."""
        held = {who: nbytes for who, nbytes in self.holders.items() if nbytes}
        new = json.dumps({"capacity": self.capacity, "holders": held}).encode()
        if new == self.content:
            return
        if os.pwrite(self.file, new, 0) < len(new):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(self.file, len(new))


@contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[AccountFile]:
    """The account at `path` for as long as the body runs; `say` hears what was wrong with it. Raises OSError."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file):
                continue  # put aside or deleted while we waited for it
            account = _read(file, path, say)
            if account is not None:
                yield account
                return
            aside = path.with_name(f"{path.name}.damaged")
            path.rename(aside)
        finally:
            os.close(file)
        say(
            f"the simulated device's account {path} could not be read and is begun anew; what was there is in {aside}. "
            "What other processes hold counts again from their next look"
        )


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat (clock ticks since boot); empty when there is no such process.

    One that has ended and was not waited for by its parent yet (a zombie) is there no more: it holds nothing.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _read(file: int, path: Path, say: Callable[[str], None]) -> AccountFile | None:
    """None for what is no account. An entry that can't be is left out."""
    content = os.pread(file, _MOST_BYTES, 0)
    if not content.strip(b"\0"):
        return AccountFile(file)  # new, or of a machine that went down before it was on the disk
    try:
        # raw_decode: a process killed between write and truncate leaves old bytes behind the JSON.
        said = json.JSONDecoder().raw_decode(content.decode(errors="replace"))[0]
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("holders"), dict):
        return None
    account = AccountFile(file, content=content)
    if _is_count(said.get("capacity")):
        account.capacity = said["capacity"]
    for who, held in said["holders"].items():
        pid, _, started = who.partition(":")
        if not (_is_number(pid) and _is_number(started) and _is_count(held)):
            say(f"the simulated device's account {path} has an entry that can't be, {who[:40]!r}; it is left out")
        elif start_time(int(pid)) == started:
            account.holders[who] = held
    return account


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
