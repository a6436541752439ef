"""The directories of clusters: gone at the end, swept up after a crash, never taken from a living owner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcluster import workspace
from localcluster.errors import LocalClusterError
from localcluster.workspace import Workspace

ROOT = Path(__file__).parents[2]
LEAVE_ONE_BEHIND = "from localcluster.workspace import Workspace; w = Workspace(); print(w.path)"


@pytest.fixture(autouse=True)
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def leave_one_behind(age_seconds: float) -> Path:
    """The directory of a process that ended without removing it."""
    command = [sys.executable, "-c", LEAVE_ONE_BEHIND]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    left = Path(answer.stdout.strip())
    then = left.stat().st_mtime - age_seconds
    os.utime(left, (then, then))
    return left


def test_what_a_crash_left_is_swept_up_at_the_next_start() -> None:
    left = leave_one_behind(age_seconds=600)
    assert left.exists()
    Workspace().remove()
    assert not left.exists()


def test_one_that_may_be_just_starting_is_left_alone() -> None:
    left = leave_one_behind(age_seconds=0)
    Workspace().remove()
    assert left.exists()


def test_one_whose_owner_lives_is_left_alone_whatever_its_age() -> None:
    mine = Workspace()
    os.utime(mine.path, (0, 0))
    Workspace().remove()
    assert mine.path.exists()
    mine.remove()
    assert not mine.path.exists()


def test_a_directory_that_was_given_is_kept(tmp_path: Path) -> None:
    Workspace(tmp_path / "mine").remove()
    assert (tmp_path / "mine").exists()


def test_two_clusters_in_one_directory_are_refused(tmp_path: Path) -> None:
    first = Workspace(tmp_path / "mine")
    with pytest.raises(LocalClusterError, match=r"Another cluster runs in .* choose another one"):
        Workspace(tmp_path / "mine")
    first.remove()
