"""How much host RAM this process may still take: the cgroup's limit, or the machine's where there is none."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes: what may be used in all, and what is free of it. Reclaimable page cache counts as free."""

    budget: int
    room: int


def read_host_memory(root: Path = Path("/")) -> HostMemory:
    """Read the smallest of cgroup v2, cgroup v1 and /proc/meminfo below `root`."""
    lines = (root / "proc/meminfo").read_text().splitlines()
    meminfo = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    candidates = [HostMemory(meminfo["MemTotal"], meminfo["MemAvailable"])]
    cgroup = root / "sys/fs/cgroup"
    for limit, usage, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        limit_bytes, used_bytes = _number(cgroup / limit), _number(cgroup / usage)
        if limit_bytes is not None and used_bytes is not None:
            reclaimable = _stat(cgroup / stat, cache)
            candidates.append(HostMemory(limit_bytes, max(0, limit_bytes - used_bytes + reclaimable)))
    return HostMemory(min(c.budget for c in candidates), min(c.room for c in candidates))


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
