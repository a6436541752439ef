"""What the tests need to know of other processes, read from /proc."""

from __future__ import annotations

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it still runs; a zombie that waits for its parent doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def running_in(directory: Path) -> set[int]:
    """Every process whose command line or working directory lies in `directory`: ours, wardens included."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not alive(int(entry.name)):
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            at = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(directory) in command or at.startswith(str(directory)):
            found.add(int(entry.name))
    return found
