"""What can be told of a node without being root: why there is none, and that nobody's cgroup is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from localcluster.binaries import USUAL
from localcluster.node import cgroups, what_is_missing
from localcluster.recipes import NODE_ONLY


def test_without_root_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert what_is_missing() == ["it needs root"]


def test_missing_tools_are_named_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "conntrack" else f"/usr/bin/{tool}")
    (reason,) = what_is_missing()
    assert "conntrack" in reason
    assert "scripts/install-node-tools" in reason
    assert "runc" not in reason


def test_abandoned_cgroups_go_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hierarchy in ("cpu", "memory"):
        for name in (f"{cgroups.PREFIX}old/kubepods/pod1", "somebody-else"):
            (tmp_path / hierarchy / name).mkdir(parents=True)
        (tmp_path / hierarchy / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroups, "HIERARCHIES", tmp_path)
    cgroups.remove_abandoned()
    assert {path.name for path in tmp_path.glob("*/*") if path.is_dir()} == {"somebody-else"}


def test_make_test_does_not_build_what_only_a_node_needs() -> None:
    assert not set(USUAL) & set(NODE_ONLY)
    assert "helm" in USUAL
