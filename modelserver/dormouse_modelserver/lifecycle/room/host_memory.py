"""How much host RAM this process may still take: the cgroup's limit, or the machine's where there is none."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes: what may be used in all, and what is free of it. Reclaimable page cache counts as free."""

    budget: int
    room: int


@dataclass(frozen=True, slots=True)
class _Version:
    """Where one version of cgroups keeps its figures."""

    mount: str
    limit: str
    usage: str
    cache: str


_V2 = _Version("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_V1 = _Version("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def read_host_memory(root: Path = Path("/")) -> HostMemory:
    """Read the tightest of /proc/meminfo and every cgroup, v1 and v2, that this process is in, below `root`.

    A limit may be on any cgroup above one's own (a pod's, a slice's), and each counts with its own usage.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    meminfo = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    candidates = [HostMemory(meminfo["MemTotal"], meminfo["MemAvailable"])]
    for version, folder in _cgroups(root):
        limit_bytes, used_bytes = _number(folder / version.limit), _number(folder / version.usage)
        if limit_bytes is not None and used_bytes is not None:
            reclaimable = _stat(folder / "memory.stat", version.cache)
            candidates.append(HostMemory(limit_bytes, max(0, limit_bytes - used_bytes + reclaimable)))
    return HostMemory(min(c.budget for c in candidates), min(c.room for c in candidates))


def _cgroups(root: Path) -> Iterator[tuple[_Version, Path]]:
    """The process's own cgroups and all above them; in a container's namespace the mount itself is the own one."""
    try:
        entries = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        entries = ["0::/", "1:memory:/"]
    for entry in entries:
        number, controllers, path = entry.split(":", 2)
        if number == "0":
            version = _V2
        elif "memory" in controllers.split(","):
            version = _V1
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for folder in (own, *own.parents):
            yield version, root / version.mount / folder


def _number(path: Path) -> int | None:
    """None for a missing file and for `max`."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _stat(path: Path, key: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == key), 0)
