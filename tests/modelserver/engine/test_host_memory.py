"""The host's budget: the smallest of the machine's memory and the cgroup's limit, v1 or v2."""

from pathlib import Path

import pytest
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory, read_host_memory

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


def limit(root: Path, folder: str, limit_mib: int | None, used_mib: int, version: int = 2) -> None:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    unlimited = "max" if version == 2 else "9223372036854771712"
    write(root, f"{folder}/{names[0]}", f"{limit_mib * MIB if limit_mib is not None else unlimited}\n")
    write(root, f"{folder}/{names[1]}", f"{used_mib * MIB}\n")


@pytest.mark.parametrize(
    ("own", "slice_", "expected"),
    [
        pytest.param((300, 100), (None, 100), HostMemory(300 * MIB, 200 * MIB), id="own limit"),
        pytest.param((None, 100), (400, 350), HostMemory(400 * MIB, 50 * MIB), id="limit of the slice"),
        pytest.param((300, 100), (800, 790), HostMemory(300 * MIB, 10 * MIB), id="neighbours used the slice up"),
        pytest.param((300, 100), (200, 120), HostMemory(200 * MIB, 80 * MIB), id="slice below own"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_each_cgroup_above_counts_with_its_own_usage(
    root: Path, own: tuple[int | None, int], slice_: tuple[int | None, int], expected: HostMemory, version: int
) -> None:
    line = "0::/kubepods.slice/pod7\n" if version == 2 else "4:cpu,cpuacct:/else\n3:memory:/kubepods.slice/pod7\n"
    mount = (V2 if version == 2 else V1) + "kubepods.slice"
    write(root, "proc/self/cgroup", line)
    limit(root, f"{mount}/pod7", *own, version=version)
    limit(root, mount, *slice_, version=version)
    assert read_host_memory(root) == expected


def test_a_cgroup_path_that_the_namespace_does_not_show_falls_back_to_the_mount(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/../../kubepods/pod7\n")
    limit(root, V2, 300, 100)
    assert read_host_memory(root) == HostMemory(300 * MIB, 200 * MIB)


def test_both_versions_side_by_side_each_count(root: Path) -> None:
    write(root, "proc/self/cgroup", "3:memory:/pod\n0::/pod\n")
    limit(root, V1 + "pod", 500, 100, version=1)
    limit(root, V2 + "pod", 400, 350)
    assert read_host_memory(root) == HostMemory(400 * MIB, 50 * MIB)
