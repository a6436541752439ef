"""Builds one binary from its pinned Go module into the cache: once, atomically, and visibly.

Two processes that need the same binary meet at a lock; the second finds it built. A build writes beside the
final name and is renamed when the result has told its version, so whatever is in the cache is whole.
"""

from __future__ import annotations

import os
from pathlib import Path

from localcluster.cache import exclusive
from localcluster.errors import BinaryUnavailable
from localcluster.gotoolchain import go_toolchain
from localcluster.process import Process
from localcluster.progress import Progress
from localcluster.recipes import GOMOD, Recipe, needed_go
from localcluster.versions import version_of


def build_into(target: Path, recipe: Recipe, why: str, progress: Progress) -> Path:
    """Build `recipe` as `target`, unless it is there when the lock is ours. `why` is shown."""

    def waiting() -> None:
        progress.say(f"{recipe.name}: another process builds it; waiting for that one")

    with exclusive(target.with_name(f".{target.name}.lock"), waiting):
        if not target.exists():
            _build(target, recipe, why, progress)
    return target


def _build(target: Path, recipe: Recipe, why: str, progress: Progress) -> None:
    go = go_toolchain(needed_go(recipe.family), progress)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    progress.start(
        f"building {recipe.name} {recipe.version} from source: {why} "
        f"(once; about {_roughly(recipe.cold_build_seconds)} on 2 cores when nothing is cached)"
    )
    build = Process(
        f"build-{recipe.name}",
        go_build(go, recipe, partial),
        directory=GOMOD / recipe.family,
        environment=build_environment(),
        log=target.with_name(f".{target.name}.log"),
        grace_seconds=2,
    )
    build.log.unlink(missing_ok=True)
    try:
        with build:
            while build.running:
                progress.tick(f"building {recipe.name}: {_last_step(build)}")
                build.pause()
        if build.returncode != 0:
            raise BinaryUnavailable(
                f"{recipe.name} could not be built ({' '.join(build.command)}, status {build.returncode}):\n"
                f"{build.log_tail()}\nNothing half was left in the cache, and Go keeps what it had compiled. "
                "Look at the lines above; when it was the network, just try again."
            )
        found = version_of(partial, recipe)
        if found is None:
            raise BinaryUnavailable(
                f"{recipe.name} was built, but does not run on this machine. It was not put into the cache."
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    build.log.unlink(missing_ok=True)
    progress.finish(f"built {recipe.name} {recipe.version}")


def go_build(go: Path, recipe: Recipe, output: Path) -> list[str]:
    """The command line. `-v` names each package when it is compiled, which is the progress that we show."""
    tags = ["-tags", recipe.tags] if recipe.tags else []
    flags = ["-v", "-mod=readonly", "-trimpath", "-buildvcs=false", *tags, "-ldflags", recipe.ldflags]
    return [str(go), "build", *flags, "-o", str(output), recipe.package]


def build_environment() -> dict[str, str | None]:
    """Only what makes the result the same everywhere; proxies, caches and the like stay the user's own."""
    return {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "",
        "GOOS": None,
        "GOARCH": None,
        "HOME": os.environ.get("HOME") or str(Path.home()),
    }


def _roughly(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _last_step(build: Process) -> str:
    lines = build.log.read_text(errors="replace").splitlines() if build.log.exists() else []
    compiled = [line for line in lines if not line.startswith("go: ")]
    if compiled:
        return f"{len(compiled)} packages compiled, now {compiled[-1]}"
    return lines[-1] if lines else "nothing left to compile, or only just begun"
