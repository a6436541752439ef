"""What is generated is fresh, what is documented is there, and Helm's own lint is content."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from generate.chart import documented, generated

from .helm import CHART, ROOT, SCENARIOS, Object, helm


@pytest.mark.parametrize("path", sorted(generated()), ids=lambda path: path.name)
def test_it_is_fresh(path: Path) -> None:
    assert path.read_text() == generated()[path], "run: make generate"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_lint_finds_nothing(scenario: Path) -> None:
    helm("lint", "--strict", CHART, "--values", scenario)


def test_lint_finds_nothing_in_the_library() -> None:
    helm("lint", "--strict", ROOT / "charts" / "dormouse-sidecar")


def leaves(values: Any, schema: Any, path: str = "") -> Any:
    for key, value in values.items():
        below = f"{path}.{key}".lstrip(".")
        properties = schema["properties"][key]
        if isinstance(value, dict) and "properties" in properties and "description" not in properties:
            yield from leaves(value, properties, below)
        else:
            yield below


def schema() -> Object:
    found: Object = json.loads((CHART / "values.schema.json").read_text())
    return found


def test_each_value_has_a_comment_that_is_also_the_schemas() -> None:
    text = (CHART / "values.yaml").read_text()
    said = dict(documented(text))
    assert set(said) == set(leaves(yaml.safe_load(text), schema()))
    for path, comment in said.items():
        node = schema()
        for key in path.split("."):
            node = node["properties"][key]
        assert node["description"] == comment


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    def objects(node: Any) -> Any:
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object":
                yield node
            for value in node.values():
                yield from objects(value)

    found = list(objects(schema()))
    assert len(found) > 20
    assert all(node["additionalProperties"] is False for node in found)


@pytest.mark.parametrize("chart", ["dormouse", "dormouse-sidecar"])
def test_the_chart_is_of_the_products_version(chart: str) -> None:
    product = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
    assert metadata["version"] == metadata["appVersion"] == product


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "docs" / "kubernetes.md",
        ROOT / "docs" / "security.md",
        CHART / "README.md",
        CHART / "templates" / "NOTES.txt",
    ],
    ids=lambda page: page.name,
)
def test_each_value_that_a_page_names_is_one(page: Path) -> None:
    text = page.read_text()
    tops = "|".join(schema()["properties"])
    named = set(re.findall(rf"(?:`|--set |[ (,])((?:{tops})(?:\.[a-zA-Z]+)+)(?=[=`: )])", text))
    assert named
    for path in (path for path in named if not path.endswith(".md")):
        node = schema()
        for key in path.split("."):
            assert key in node.get("properties", {}), path
            node = node["properties"][key]
