"""The other processes of this user on the same GPU: which of their models are idle, and asking one to leave.

A folder (`DORMOUSE_GPU_ARBITER`) with one unix socket per process; whoever can reach one there is the same user, which
both ends check. One connection is one question and one answer, a line of JSON each. A process that died leaves a
socket that refuses, and it is removed; one that hangs costs its time limit and nothing else.
"""

import json
import logging
import os
import socket
import stat
import struct
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError

_log = logging.getLogger("dormouse")
_MAX_LINE_BYTES = 64 * 1024
_LOOK_SECONDS = 1.0
# A demotion may have to copy changed weights back first.
_LEAVE_SECONDS = 60.0

# A question (`{"ask": …}`) answered by this process; raises nothing.
Answer = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class IdleElsewhere:
    """A model of another process that could leave the GPU. Durations travel, not times: clocks differ."""

    at: Path
    model: str
    idle_seconds: float


class Neighbours:
    """Raises `ConfigurationError` for a folder that others may write to, or that can't be made."""

    def __init__(self, folder: str, gpu_uuid: str, answer: Answer) -> None:
        self._folder, self._gpu, self._answer = Path(folder), gpu_uuid, answer
        _check_folder(self._folder)
        # A name that no other process ever has: what refuses under it is dead for good.
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self._own))
            self._own.chmod(stat.S_IRUSR | stat.S_IWUSR)
            self._listener.listen(16)
        except OSError as error:
            self._listener.close()
            raise ConfigurationError(
                f"DORMOUSE_GPU_ARBITER={folder}: a socket can't be made there ({error.strerror or error}); "
                "choose a folder of this user with a short path, or leave it unset"
            ) from error
        threading.Thread(target=self._serve, name="dormouse-neighbours", daemon=True).start()

    def idle(self) -> list[IdleElsewhere]:
        """What the others on this GPU could do without now."""
        found: list[IdleElsewhere] = []
        for path in sorted(self._folder.glob("*.sock")):
            answer = self._ask(path, {"ask": "idle", "gpu": self._gpu}, _LOOK_SECONDS) if path != self._own else {}
            entries = answer.get("idle", ())
            found += [IdleElsewhere(path, str(entry["model"]), float(entry["idleSeconds"])) for entry in entries]
        return found

    def ask_to_leave(self, idle: IdleElsewhere, reason: str) -> bool:
        """True when it has left the GPU."""
        question = {"ask": "leave", "gpu": self._gpu, "model": idle.model, "reason": reason}
        return bool(self._ask(idle.at, question, _LEAVE_SECONDS).get("left", False))

    def close(self) -> None:
        self._own.unlink(missing_ok=True)
        # Wakes the thread that accepts; closing alone would leave it there.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("the neighbours' socket was closed already")
        self._listener.close()

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
                connection.sendall(json.dumps(question).encode() + b"\n")
                answer = json.loads(_line(connection))
                return answer if isinstance(answer, dict) else {}
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # nobody listens any more: its process is gone
        except (OSError, ValueError) as error:
            _log.debug("neighbour %s did not answer: %s", path.name, error)
        return {}

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._reply, args=(connection,), name="dormouse-neighbour", daemon=True).start()

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
            except (OSError, ValueError) as error:
                _log.debug("a neighbour's question came to nothing: %s", error)


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
