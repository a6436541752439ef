"""Where a node lives: network, mount and process namespaces of its own, so that the kernel cleans up.

Interfaces, iptables chains, overlay mounts and containers belong to these namespaces and are gone with their
last process, however that one ended; nothing of them can be left on the machine, or meet another run's. What
does remain are cgroups, which are empty then and are removed afterwards (`cgroups.py`).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from localcluster.process import Process

UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# Compiled into the kubelet and the CNI library, so they can't be moved by a flag.
FIXED = (Path("/var/lib/kubelet"), Path("/var/lib/cni"), Path("/var/log"))


def inside(name: str, command: list[str | Path], *, directory: Path, log: Path | None = None) -> Process:
    """`command` as the first process of fresh namespaces. Not started yet."""
    return Process(name, [*UNSHARE, *map(str, command)], directory=directory, log=log, grace_seconds=60)


def use_own_directories(directory: Path) -> None:
    """Inside: what would be written to the machine's own folders goes to `directory`, and /run is empty."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    for path in FIXED:
        path.mkdir(parents=True, exist_ok=True)
        own = directory / path.relative_to("/")
        own.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", str(own), str(path)], check=True)
    # The kubelet hands its mounts on to containers.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
