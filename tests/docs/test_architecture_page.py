"""The page that says where things are names places that exist."""

import re
from pathlib import Path

import pytest

from .pages import DOCS, read

ROOT = DOCS.parent
# Where a path without its package begins, by the room that the page speaks of.
BASES = [
    ROOT,
    ROOT / "modelserver" / "dormouse_modelserver",
    ROOT / "operator" / "dormouse_operator",
    ROOT / "contract" / "dormouse_contract",
    ROOT / "modelserver" / "dormouse_modelserver" / "engines" / "torch",
]
PATHS = sorted(
    {
        text
        for text in re.findall(r"`([\w./-]+)`", read("architecture.md"))
        if text[0] != "/" and ("/" in text or text.endswith(".py"))
    }
)


@pytest.mark.parametrize("path", PATHS)
def test_each_path_exists(path: str) -> None:
    assert any((base / path).exists() for base in BASES), f"docs/architecture.md names {path}, which is not there"


def test_paths_are_found() -> None:
    assert len(PATHS) > 30
    assert Path("contract/dormouse_contract/policy.py").as_posix() in PATHS
