"""Writes what is generated in the charts: the copy of the CRD, and the table of values in the README.

    python charts/generate.py            # writes; `make chart` does the same
    python charts/generate.py --check    # only says what is stale, with status 1

A chart can't read files outside its folder, hence the copy; and a table by hand would be wrong within a week.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parent
CHART = CHARTS / "dormouse"
CRD = CHARTS.parent / "crds" / "managedmodel.yaml"
BEGIN, END = "<!-- begin: values -->", "<!-- end: values -->"


def generated() -> dict[Path, str]:
    """Each generated file with what it should be."""
    readme = CHART / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join(values_table())
    return {
        CHART / "files" / "crds" / "managedmodel.yaml": CRD.read_text(),
        readme: f"{before}{BEGIN}\n{table}\n{END}{after}",
    }


def values_table() -> Iterator[str]:
    yield "| value | default | what it is |"
    yield "| --- | --- | --- |"
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    for path, said in documented(text):
        yield f"| `{path}` | `{json.dumps(_at(values, path))}` | {said} |"


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


def main(arguments: list[str]) -> int:
    stale = {path: text for path, text in generated().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(f"{'stale' if arguments else 'wrote'}: {path.relative_to(CHARTS.parent)}")
        if not arguments:
            path.write_text(text)
    return int(bool(stale and arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
