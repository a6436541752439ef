"""The reference of ManagedModel, made of the CRD: what `kubectl explain` shows, and the rules that it doesn't."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docsite.markdown import NOTE, code, table

CRD = Path(__file__).resolve().parents[1] / "crds" / "managedmodel.yaml"
Schema = dict[str, Any]

_HEAD = """\
# ManagedModel

Each field of the CRD. [Policy](../policy.md) tells what they do together, [failure modes](../failure-modes.md) what
each condition means; `kubectl explain dmm.spec` shows the same in a terminal. `kubectl`
refuses a field that is not here.
"""


def managed_model() -> str:
    crd = yaml.safe_load(CRD.read_text())["spec"]
    (version,) = crd["versions"]
    root = version["schema"]["openAPIV3Schema"]
    lines = [NOTE, "", _HEAD, _identity(crd, version)]
    for name in ("spec", "status"):
        for path, schema in _objects(name, root["properties"][name]):
            lines += ["", f"## {code(path)}", "", _text(schema["description"]), "", *_fields(schema), *_rules(schema)]
    lines += ["", "## Columns of `kubectl get`", "", *_columns(version["additionalPrinterColumns"])]
    return "\n".join(lines) + "\n"


def _identity(crd: Schema, version: Schema) -> str:
    names = crd["names"]
    return (
        f"apiVersion {code(crd['group'] + '/' + version['name'])}, kind {code(names['kind'])}, {crd['scope'].lower()}; "
        f"short name {code(names['shortNames'][0])}, in the category {code(names['categories'][0])}."
    )


def _objects(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Each object that has fields, with those inside it after it."""
    yield path, schema
    for name, field in schema["properties"].items():
        if "properties" in field:
            yield from _objects(f"{path}.{name}", field)
        elif "properties" in field.get("items", {}):
            yield from _objects(f"{path}.{name}[]", field["items"])


def _fields(schema: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    yield from table(
        ("field", "type", "default", "bounds", "meaning"),
        (
            (
                code(name) + (", required" if name in required else ""),
                _type(field),
                code(_value(field["default"])) if "default" in field else "",
                "; ".join(_bounds(field)),
                _text(field["description"]),
            )
            for name, field in schema["properties"].items()
        ),
    )


def _type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(map(code, field["enum"]))
    if field["type"] == "array":
        keys = field.get("x-kubernetes-list-map-keys")
        return "list of objects" + (f", one for each {code(keys[0])}" if keys else "")
    if "additionalProperties" in field:
        return "map of strings"
    return str(field.get("format") if field.get("format") == "date-time" else field["type"])


def _bounds(field: Schema) -> Iterator[str]:
    low, high = field.get("minimum"), field.get("maximum")
    if high is not None:
        yield f"{low} to {high}"
    for least, most, what in (
        ("minLength", "maxLength", "characters"),
        ("minProperties", "maxProperties", "entries"),
        ("minItems", "maxItems", "items"),
    ):
        if most in field and "enum" not in field and field.get("format") != "date-time":
            yield (f"{field[least]} to " if least in field else "at most ") + f"{field[most]} {what}"


def _rules(schema: Schema) -> Iterator[str]:
    rules = [*_rules_of("", schema)]
    for name, field in schema["properties"].items():
        if "properties" not in field:
            rules += _rules_of(name, field)
            if "additionalProperties" in field:
                rules += _rules_of(f"{name}.*", field["additionalProperties"])
    if rules:
        yield from ("", "Rules, with what the API server answers when one is broken:", "", *rules)


def _rules_of(name: str, field: Schema) -> Iterator[str]:
    where = f"{code(name)}: " if name else ""
    cel = field.get("x-kubernetes-validations", ())
    if "pattern" in field and not any(field["pattern"] in rule["rule"] for rule in cel):
        yield f"- {where}pattern `{field['pattern']}`"
    for rule in cel:
        yield f"- {where}`{_text(rule['rule'])}`"
        yield f"  — {_text(rule['message'])}"


def _columns(columns: list[Schema]) -> Iterator[str]:
    yield from table(
        ("column", "path", "shown", "meaning"),
        (
            (
                column["name"],
                code(column["jsonPath"]),
                "with `-o wide`" if column.get("priority") else "always",
                column["description"],
            )
            for column in columns
        ),
    )


def _value(value: object) -> object:
    return "{}" if value == {} else value


def _text(text: str) -> str:
    return " ".join(text.split())
