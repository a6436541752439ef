"""The host's budget: the smallest of the machine's memory and the cgroup's limit, v1 or v2."""

from pathlib import Path

import pytest
from dormouse_modelserver.engine.host_memory import HostMemory, read_host_memory

MIB = 1 << 20
V1 = "sys/fs/cgroup/memory/"
V2 = "sys/fs/cgroup/"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 1000 MiB, 600 of them available."""
    write(tmp_path, "proc/meminfo", f"MemTotal: {1000 * 1024} kB\nMemAvailable: {600 * 1024} kB\nHugePages_Total: 0\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_without_a_cgroup_the_machine_is_the_limit(root: Path) -> None:
    assert read_host_memory(root) == HostMemory(1000 * MIB, 600 * MIB)


def test_cgroup_v2_limits_and_reclaimable_cache_counts_as_free(root: Path) -> None:
    write(root, V2 + "memory.max", f"{300 * MIB}\n")
    write(root, V2 + "memory.current", f"{250 * MIB}\n")
    write(root, V2 + "memory.stat", f"anon 1\nactive_file 7\ninactive_file {40 * MIB}\n")
    assert read_host_memory(root) == HostMemory(300 * MIB, 90 * MIB)


def test_cgroup_v2_max_is_no_limit(root: Path) -> None:
    write(root, V2 + "memory.max", "max\n")
    write(root, V2 + "memory.current", f"{250 * MIB}\n")
    assert read_host_memory(root) == HostMemory(1000 * MIB, 600 * MIB)


def test_cgroup_v1_limits(root: Path) -> None:
    write(root, V1 + "memory.limit_in_bytes", f"{300 * MIB}\n")
    write(root, V1 + "memory.usage_in_bytes", f"{250 * MIB}\n")
    write(root, V1 + "memory.stat", f"cache 9\ninactive_file 3\ntotal_inactive_file {10 * MIB}\n")
    assert read_host_memory(root) == HostMemory(300 * MIB, 60 * MIB)


def test_cgroup_v1_without_a_limit_writes_a_number_beyond_all_memory(root: Path) -> None:
    write(root, V1 + "memory.limit_in_bytes", "9223372036854771712\n")
    write(root, V1 + "memory.usage_in_bytes", f"{250 * MIB}\n")
    assert read_host_memory(root) == HostMemory(1000 * MIB, 600 * MIB)


def test_the_machine_may_have_less_left_than_the_cgroup_allows(root: Path) -> None:
    write(root, V2 + "memory.max", f"{900 * MIB}\n")
    write(root, V2 + "memory.current", f"{10 * MIB}\n")
    assert read_host_memory(root) == HostMemory(900 * MIB, 600 * MIB)


def test_more_used_than_allowed_leaves_no_room_rather_than_less(root: Path) -> None:
    write(root, V2 + "memory.max", f"{100 * MIB}\n")
    write(root, V2 + "memory.current", f"{120 * MIB}\n")
    assert read_host_memory(root).room == 0


def test_this_machine_can_be_read() -> None:
    here = read_host_memory()
    assert 0 < here.room <= here.budget
