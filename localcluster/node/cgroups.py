"""One cgroup per run, in which the kubelet puts its pods: made before, removed after, the crashed runs' as well."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

HIERARCHIES = Path("/sys/fs/cgroup")
PREFIX = "dormouse-node-"


def hierarchies() -> list[Path]:
    """The one of version 2, or each controller's of version 1."""
    if (HIERARCHIES / "cgroup.controllers").exists():
        return [HIERARCHIES]
    return sorted({path.resolve() for path in HIERARCHIES.iterdir() if (path / "cgroup.procs").exists()})


def make_cgroup(name: str) -> None:
    """Make `name` in each hierarchy, usable: version 1's cpuset starts with no processor at all."""
    for hierarchy in hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / name / setting).exists() and not (hierarchy / "cgroup.controllers").exists():
                (hierarchy / name / setting).write_text((hierarchy / setting).read_text())


def remove_cgroup(name: str) -> None:
    """Remove `name` and what is in it. What still has a process is left alone, so this can harm nobody."""
    for hierarchy in hierarchies():
        for path, _, _ in os.walk(hierarchy / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()


def remove_abandoned() -> None:
    """What runs before this one left behind. Those with a process in them stay."""
    for name in {path.name for hierarchy in hierarchies() for path in hierarchy.glob(f"{PREFIX}*")}:
        remove_cgroup(name)
