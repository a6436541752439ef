"""A port is a number in the contract, and a name everywhere else in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dormouse_contract.ports import Port

from .places import ROOT

PRODUCT = ("contract", "prometheus", "webkit", "modelserver", "operator", "console")
BESIDE_IT = ("examples", "localcluster", "images", "generate", "dashboards", "benchmarks", "docsite")
HOME = ROOT / "contract" / "dormouse_contract" / "ports.py"
MODULES = sorted(path for folder in (*PRODUCT, *BESIDE_IT) for path in (ROOT / folder).rglob("*.py") if path != HOME)
NUMBERS = {str(int(port)) for port in Port}
A_PORT = re.compile(rf"\b({'|'.join(sorted(NUMBERS))})\b")


def constants(tree: ast.Module) -> Iterator[ast.Constant]:
    """What the code computes with: neither docstrings nor the examples that a `--help` shows."""
    aside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            aside.add(id(node.value))
        elif isinstance(node, ast.Assign) and _is_example(node):
            aside.update(map(id, ast.walk(node.value)))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in aside)


def _is_example(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and "EXAMPLE" in target.id for target in node.targets)


def written(source: str) -> list[str]:
    return [
        f"line {node.lineno}: {str(node.value).strip()[:60]}"
        for node in constants(ast.parse(source))
        if (A_PORT.search(node.value) if isinstance(node.value, str) else str(node.value) in NUMBERS)
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_none_is_written_elsewhere(path: Path) -> None:
    assert written(path.read_text()) == []


@pytest.mark.parametrize(
    "source", ["port = 7443", 'ask("http://pod:9743/metrics")', 'flag("--port", "9744")', 'f"port 7443 of {pod}"']
)
def test_one_that_is_written_elsewhere_is_seen(source: str) -> None:
    assert len(written(source)) == 1


@pytest.mark.parametrize("source", ['"""Port 7443."""', 'EXAMPLES = "serve --port 7861"', "n = 17443", 's = "97430"'])
def test_what_is_none_is_not(source: str) -> None:
    assert written(source) == []
