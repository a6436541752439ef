"""Values that the CRD's schema admits, and odd ones that a newer CRD might, for hypothesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

CRD = Path(__file__).parents[2] / "crds" / "managedmodel.yaml"
SCHEMA: dict[str, Any] = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
)
# The API server's own idea of a date-time (k8s.io/kube-openapi strfmt), which is wider than RFC 3339.
date_times = st.from_regex(
    r"\A[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[tT]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(.[0-9]{1,12})?([zZ]|[+-][0-9]{2}:[0-9]{2})\Z"
)
_LABEL = r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?\Z"


def of(schema: dict[str, Any], path: str = "") -> st.SearchStrategy[Any]:
    """Whatever the schema of a field admits. CEL is not looked at, so there is more than the API server admits."""
    if path.endswith(".timeZone"):
        # What the pattern admits is mostly no zone; those that are must come too.
        return st.sampled_from(["UTC", "Europe/Berlin", "Local", "Europe", "GMT+3", "posixrules"]) | _text(schema)
    match schema["type"]:
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            inner = {name: of(each, f"{path}.{name}") for name, each in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: inner[name] for name in inner if name in required},
                optional={name: inner[name] for name in inner if name not in required},
            )
        case "object" if "additionalProperties" in schema:
            return st.dictionaries(st.from_regex(_LABEL), of(schema["additionalProperties"]), min_size=1, max_size=3)
        case "array":
            return st.lists(of(schema["items"], path), max_size=3)
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "string":
            return _text(schema)
    raise AssertionError(f"{path} is a {schema['type']}, which this file does not know yet")


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date-time":
        return date_times
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("^", r"\A").replace("$", r"\Z")).filter(
            lambda text: len(text) <= schema["maxLength"]
        )
    return st.text(max_size=min(schema["maxLength"], 40))


specs = of(SCHEMA["properties"]["spec"])
statuses = of(SCHEMA["properties"]["status"])


@st.composite
def odd(draw: st.DrawFn, known: st.SearchStrategy[Any]) -> Any:
    """One that is known, with a part of it lacking, replaced by anything, or one field more."""
    value = draw(known)
    if not isinstance(value, dict):
        return draw(anything)
    value = dict(value)
    name = draw(st.sampled_from(sorted(value)) if value else st.just("new"))
    match draw(st.sampled_from(["drop", "replace", "inside", "add"])):
        case "drop":
            value.pop(name, None)
        case "replace":
            value[name] = draw(anything)
        case "inside":
            value[name] = draw(odd(st.just(value.get(name))))
        case _:
            value[draw(st.text(min_size=1, max_size=12))] = draw(anything)
    return value
