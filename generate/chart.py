"""What is generated in the chart: the copy of the CRD, and the table of values in the README.

A chart can't read files outside its folder, hence the copy; and a table by hand would be wrong within a week.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docsite.markdown import between, table

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "dormouse"
CRD = ROOT / "crds" / "managedmodel.yaml"


def generated() -> dict[Path, str]:
    """Each generated file with what it should be."""
    readme = CHART / "README.md"
    return {
        CHART / "files" / "crds" / "managedmodel.yaml": CRD.read_text(),
        readme: between(readme.read_text(), "values", values_table()),
    }


def values_table() -> Iterator[str]:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = ((f"`{path}`", f"`{json.dumps(_at(values, path))}`", said) for path, said in documented(text))
    yield from table(("value", "default", "what it is"), rows)


def documented(text: str) -> Iterator[tuple[str, str]]:
    """Each value with the comment `# --` above it, in the order of the file."""
    path: list[str] = []
    said: str | None = None
    for line in text.splitlines():
        if comment := re.match(r" *# -- (.+)$", line):
            said = comment[1]
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if said is not None:
                yield ".".join(path), said
            said = None


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values
