"""The reference of the control API, made of the OpenAPI document that each server gives."""

import json
import re
from collections.abc import Iterator
from typing import Any

from dormouse_contract.ports import Port
from dormouse_modelserver.server.openapi import control_api as document
from pydantic.alias_generators import to_camel

from docsite.markdown import NOTE, code, table

Schema = dict[str, Any]
_HEAD = f"""\
# Control API

JSON in and out; unknown fields are refused. Refusals are `application/problem+json` (RFC 9457) with a `reason` and a
`detail` that says what happened, what is unharmed and what to do next. A server gives the whole as an OpenAPI document:
`GET /dormouse/v1/openapi.json`.

| where | who may read | who may change |
| --- | --- | --- |
| the app's port | whoever reaches it | see [security](../security.md#ports) |
| {Port.CONTROL} of the sidecar, mutual TLS | the operator | the operator; `order` and `podUID` are required |
| the unix socket in the pod | whoever has it mounted | whoever has it mounted |
"""
_ABOUT = {
    "listModels": "All models of this server.",
    "readModel": "One model.",
    "orderResidency": "Brings the weights there, once. It pins nothing: the ladder goes on from there, and a request "
    "wakes the model at any time. A wake counts as use.",
    "lendPolicy": "What the replica decides by itself until the loan ends. `null` is the server's own setting. A loan "
    "replaces the same owner's earlier one; `validForSeconds: 0` withdraws it.",
}


def control_api() -> str:
    api = document("/dormouse")
    lines = [NOTE, "", _HEAD.strip()]
    refusals: dict[str, str] = {}
    for path, item in api["paths"].items():
        for method in ("get", "put"):
            if method in item:
                lines += ["", f"## {code(f'{method.upper()} {path}')}", "", *_operation(item[method])]
                refusals |= {status: one["description"] for status, one in _answers(item[method], refused=True)}
    lines += ["", "## Refusals", "", "Of every route; the body is a [Problem](#problem).", ""]
    lines += [*table(("status", "meaning"), sorted(refusals.items())), "", "## Bodies"]
    for name, schema in api["components"]["schemas"].items():
        lines += ["", f"### {name}", "", *_schema(schema)]
    return "\n".join(lines) + "\n"


def _operation(operation: Schema) -> Iterator[str]:
    yield _ABOUT[operation["operationId"]]
    yield ""
    if "requestBody" in operation:
        yield f"Body: {_type(operation['requestBody']['content']['application/json']['schema'])}"
        yield ""
    yield from table(
        ("status", "meaning", "body"),
        (
            (status, answer["description"], ", ".join(_type(kind["schema"]) for kind in answer["content"].values()))
            for status, answer in _answers(operation, refused=False)
        ),
    )


def _answers(operation: Schema, *, refused: bool) -> Iterator[tuple[str, Schema]]:
    return ((status, answer) for status, answer in operation["responses"].items() if (status >= "400") is refused)


def _schema(schema: Schema) -> Iterator[str]:
    # What an enumeration says beyond its first sentence is for those who write the code.
    said = schema.get("description", "")
    yield from _said(said.split("\n\n")[0] if "enum" in schema else said)
    if "enum" in schema:
        yield "One of " + ", ".join(map(code, schema["enum"])) + "."
    elif "properties" in schema:
        required = schema.get("required", ())
        yield from table(
            ("field", "type", "default", "bounds"),
            (
                (
                    code(name),
                    _type(field),
                    "required" if name in required else code(_json(field.get("default"))),
                    _bounds(field),
                )
                for name, field in schema["properties"].items()
            ),
        )


def _said(docstring: str) -> Iterator[str]:
    """The docstring's paragraphs; its lines `name: meaning` as a list, by the names that travel."""
    text = re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda found: to_camel(found[0]), docstring.replace("None", "null"))
    for paragraph in filter(None, text.split("\n\n")):
        joined = re.sub(r"\n(?!\w+: )", " ", paragraph)
        if re.match(r"\w+: ", joined):
            yield from (re.sub(r"^(\w+):", r"- `\1`:", line) for line in joined.splitlines())
        else:
            yield joined
        yield ""


def _type(field: Schema) -> str:
    if reference := field.get("$ref"):
        name = reference.rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if options := field.get("anyOf"):
        return " or ".join(map(_type, options))
    if "enum" in field:
        return ", ".join(map(code, field["enum"]))
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(values := field.get("additionalProperties"), dict):
        return f"{_type(values)} by name"
    return str(field["type"])


def _bounds(field: Schema) -> str:
    kind = next((one for one in field.get("anyOf", ()) if one != {"type": "null"}), field)
    if "exclusiveMinimum" in kind:
        return f"above {kind['exclusiveMinimum']}, at most {kind['maximum']}"
    if "maximum" in kind:
        return f"{kind['minimum']} to {kind['maximum']}"
    if "maxLength" in kind:
        return f"{kind.get('minLength', 0)} to {kind['maxLength']} characters"
    return ""


def _json(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
