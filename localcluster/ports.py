"""Ports that stay ours: over a restart of the server, and against another cluster that starts at the same
moment.

The usual "bind to port 0, close, use it" picks from the ephemeral range, where any outgoing connection may
take the port while a server is being restarted. So these come from below that range, and a lock file per
port, held until this process ends, keeps two clusters side by side from choosing the same one.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from localcluster.errors import LocalClusterError

# Linux hands out 32768-60999 by itself, other systems 49152 and up.
FIRST, LAST = 20000, 32767
_held: list[int] = []


def reserve_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on, reserved for this process until it ends."""
    folder = Path(tempfile.gettempdir()) / f"dormouse-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for _ in range(500):
        port = random.randint(FIRST, LAST)  # noqa: S311 - not a secret
        handle = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        if _is_free(host, port):
            _held.append(handle)
            return port
        os.close(handle)
    raise LocalClusterError(
        f"No free port between {FIRST} and {LAST} on {host} was found in 500 tries. Nothing was started. "
        "See with `ss -ltn` who listens there."
    )


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
