"""Every field says what it is and has its bounds: found out from the file, so that none can be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from localcluster.crd import CRD_FILE

CRD = yaml.safe_load(CRD_FILE.read_text())
VERSION = CRD["spec"]["versions"][0]


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from fields(schema["additionalProperties"], f"{path}.*")


OURS = [
    found
    for part in ("spec", "status")
    for found in fields(VERSION["schema"]["openAPIV3Schema"]["properties"][part], part)
]


def lacking(kind: str, *needed: str) -> list[str]:
    return [path for path, field in OURS if field["type"] == kind and not all(n in field for n in needed)]


def test_the_walk_sees_the_fields() -> None:
    paths = {path for path, _ in OURS}
    assert {"spec.policy.schedule[].cron", "spec.selector.matchLabels.*"} <= paths
    assert "status.conditions[].reason" in paths


def test_every_field_has_a_description() -> None:
    assert [path for path, field in OURS if not field.get("description", "").strip()] == []


def test_every_string_has_a_greatest_length() -> None:
    assert lacking("string", "maxLength") == []


def test_every_list_has_a_greatest_length_and_a_list_type() -> None:
    assert lacking("array", "maxItems", "x-kubernetes-list-type") == []


def test_every_number_has_its_bounds() -> None:
    assert lacking("integer", "minimum", "maximum", "format") == []


def test_there_are_no_booleans_and_no_floats() -> None:
    assert [path for path, field in OURS if field["type"] in ("boolean", "number")] == []


def test_every_duration_says_its_unit_and_what_its_limit_is() -> None:
    durations = [(path, field) for path, field in OURS if path.endswith("Seconds")]
    assert len(durations) == 5
    for path, field in durations:
        assert "econds" in field["description"], path
        assert str(field["maximum"]) in field["description"], path
        if "default" in field:
            assert f"Default {field['default']}" in field["description"], path


def test_every_rule_has_a_message_that_tells_what_to_do() -> None:
    rules = [(path, rule) for path, field in OURS for rule in field.get("x-kubernetes-validations", ())]
    assert len(rules) >= 9
    for path, rule in rules:
        assert len(rule["message"]) > 60, path


def test_names_are_those_of_the_contract() -> None:
    assert CRD["spec"]["group"] == "dormouse.dev"
    assert CRD["spec"]["scope"] == "Namespaced"
    assert CRD["spec"]["names"]["shortNames"] == ["dmm"]
    assert CRD["spec"]["names"]["categories"] == ["dormouse"]
    assert [v["name"] for v in CRD["spec"]["versions"]] == ["v1alpha1"]
