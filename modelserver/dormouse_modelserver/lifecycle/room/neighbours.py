"""The other processes of this user on the same GPU: which of their models are idle, and asking one to leave.

A folder (`DORMOUSE_GPU_ARBITER`) with one unix socket per process; whoever can reach one there is the same user, which
both ends check. One connection is one question and one answer, a line of JSON each. A process that died leaves a
socket that refuses, and whoever starts next, or asks it, removes it. One that hangs costs its time limit and nothing
else. One of an earlier version knows the questions `idle` and `leave` only: its idle models can be asked to leave, and
those in use are waited for.
"""

import fcntl
import json
import logging
import os
import re
import socket
import stat
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ...errors import ConfigurationError
from .. import background
from ..background import LongLived
from .turns import Claim, Key, Occupant

_log = logging.getLogger("dormouse")
_MAX_LINE_BYTES = 64 * 1024
_LOOK_SECONDS = 1.0
# A demotion may have to copy changed weights back first.
_LEAVE_SECONDS = 60.0
_LOCK_SECONDS = 1.0
# The process' number and eight random digits.
_OUR_NAME = re.compile(r"[0-9]{1,10}-[0-9a-f]{8}\.sock")

# A question (`{"ask": …}`) answered by this process; raises nothing.
Answer = Callable[[dict[str, Any]], dict[str, Any]]


_One = TypeVar("_One", Claim, Occupant)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another process's models on this GPU, and which of them wait for room. Durations travel: clocks differ."""

    occupants: list[Occupant]
    claims: list[Claim]


def as_question(one: Claim | Occupant) -> dict[str, Any]:
    """As it travels: its own fields, with the model's name instead of the key."""
    return {"model": one.key[1], **{k: v for k, v in asdict(one).items() if k not in ("key", "held_for")}}


def _read(kind: type[_One], process: str, entry: dict[str, Any]) -> _One:
    """What a newer version says besides is passed over. Raises TypeError and KeyError."""
    known = {field.name for field in fields(kind)} - {"key", "held_for"}
    return kind(key=(process, str(entry["model"])), **{k: v for k, v in entry.items() if k in known})


class Neighbours:
    """Raises `ConfigurationError` for a folder that others may write to, or that can't be made."""

    def __init__(self, folder: str, gpu_uuid: str, answer: Answer) -> None:
        self._folder, self._gpu, self._answer = Path(folder), gpu_uuid, answer
        _check_folder(self._folder)
        # A name that no other process ever has: what refuses under it is dead for good.
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _locked(self._folder) as locked:
                if locked:
                    _remove_dead(self._folder.glob("*.sock"))
                self._listener.bind(str(self._own))
                self._own.chmod(stat.S_IRUSR | stat.S_IWUSR)
                self._listener.listen(16)
        except OSError as error:
            self._listener.close()
            raise ConfigurationError(
                f"DORMOUSE_GPU_ARBITER={folder}: a socket can't be made there ({error.strerror or error}); "
                "choose a folder of this user with a short path, or leave it unset"
            ) from error
        self._closed = False
        self._thread = LongLived("neighbours", self._serve)
        self._thread.ensure()

    def look(self) -> list[Elsewhere]:
        """What the others have on this GPU."""
        return [self._look_at(path) for path in self._others()]

    def ask_to_leave(self, key: Key, reason: str, claim: Claim) -> bool:
        """True when it has left the GPU."""
        question = {"ask": "leave", "model": key[1], "reason": reason, **self._said_of(claim)}
        return bool(self._ask(self._folder / key[0], question, _LEAVE_SECONDS).get("left", False))

    def ask_to_drain(self, key: Key, seconds: float, reason: str) -> None:
        question = {"ask": "drain", "model": key[1], "reason": reason, "seconds": seconds}
        self._ask(self._folder / key[0], question, _LOOK_SECONDS)

    def hold(self, claim: Claim | None) -> None:
        """Tell the others that what becomes free now is for this claim; None: not any more."""
        for path in self._others():
            self._ask(path, {"ask": "hold", **self._said_of(claim)}, _LOOK_SECONDS)

    def _said_of(self, claim: Claim | None) -> dict[str, Any]:
        if claim is None:
            return {"from": self._own.name, "needBytes": 0}
        return {"from": self._own.name, "needBytes": claim.need_bytes, "waitedSeconds": claim.waited_seconds}

    def _others(self) -> list[Path]:
        self._thread.ensure()
        return [path for path in sorted(self._folder.glob("*.sock")) if path != self._own]

    def _look_at(self, path: Path) -> Elsewhere:
        answer = self._ask(path, {"ask": "models"}, _LOOK_SECONDS)
        try:
            if "models" in answer:
                occupants = [_read(Occupant, path.name, entry) for entry in answer["models"]]
                return Elsewhere(occupants, [_read(Claim, path.name, entry) for entry in answer.get("claims", ())])
            entries = self._ask(path, {"ask": "idle"}, _LOOK_SECONDS).get("idle", ()) if answer else ()
            idle = [Occupant((path.name, str(one["model"])), None, float(one["idleSeconds"])) for one in entries]
            return Elsewhere(idle, [])
        except (TypeError, KeyError, ValueError) as error:
            _log.debug("neighbour %s: its answer can't be read: %s", path.name, error)
            return Elsewhere([], [])

    def close(self) -> None:
        self._closed = True
        self._own.unlink(missing_ok=True)
        # Wakes the thread that accepts; closing alone would leave it there.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("the neighbours' socket was closed already")
        self._listener.close()
        self._thread.close(_LOOK_SECONDS)

    def forget(self) -> None:
        """In a forked child: the socket is the parent's, which goes on answering."""
        self._listener.close()

    def _ask(self, path: Path, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(seconds)
                connection.connect(str(path))
                if _peer_uid(connection) != os.getuid():
                    return {}
                connection.sendall(json.dumps({**question, "gpu": self._gpu}).encode() + b"\n")
                answer = json.loads(_line(connection))
                return answer if isinstance(answer, dict) else {}
        except ConnectionRefusedError:
            self._remove(path)
        except (OSError, ValueError) as error:
            _log.debug("neighbour %s did not answer: %s", path.name, error)
        return {}

    def _remove(self, path: Path) -> None:
        try:
            with _locked(self._folder) as locked:
                if locked:
                    _remove_dead([path])
        except OSError as error:
            _log.debug("neighbour %s is gone, and its socket stays: %s", path.name, error)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                raise  # no file is free, for example; it is accepted later
            self._thread.worked()
            try:
                threading.Thread(target=self._reply, args=(connection,), name="dormouse-neighbour", daemon=True).start()
            except Exception as error:  # at a limit of threads: the neighbour hears nothing, and asks again
                background.count_failure("neighbour", error)
                connection.close()

    def _reply(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(_LOOK_SECONDS)
                if _peer_uid(connection) != os.getuid():
                    return
                question = json.loads(_line(connection))
                mine = isinstance(question, dict) and question.get("gpu") == self._gpu
                answer = self._answer(question) if mine else {}
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError, TypeError, OverflowError) as error:
                _log.debug("a neighbour's question came to nothing: %s", error)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Against the other processes of this folder, for a moment. False where one that hangs has it: we go on without."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locked = _lock(descriptor)
        try:
            yield locked
        finally:
            # Closing is not enough: a child that was forked meanwhile has it open too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    give_up_at = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_LOCK_SECONDS / 100)
        else:
            return True


def _remove_dead(paths: Iterable[Path]) -> None:
    """Sockets of ours that nobody listens on. The folder is locked, so none of them is only just being made."""
    for path in paths:
        try:
            found = path.lstat()
            if not (stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid() and _OUR_NAME.fullmatch(path.name)):
                continue
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                # Whoever has too much to do to take it is alive.
                connection.setblocking(False)
                connection.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.debug("neighbour %s can't be looked at: %s", path.name, error)


def _line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        chunk = connection.recv(4096)
        if not chunk or len(received) > _MAX_LINE_BYTES:
            raise ValueError("no whole line came")
        received += chunk
    return bytes(received)


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise ConfigurationError(
            f"DORMOUSE_GPU_ARBITER={folder} can't be used: {error.strerror}; give a folder of this user"
        ) from error
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"DORMOUSE_GPU_ARBITER={folder} may be written to by other users, who could then pose as a neighbour; "
            f"give a folder of this user alone (chmod 700 {folder})"
        )
