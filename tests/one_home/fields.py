"""Where a field of the spec and a rule of the policy must be known, and whether one is there.

As in `places.py` each place reads the artefact itself, so that a new field fails until somebody has put it there.
"""

import re
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import yaml
from dormouse_contract import Policy
from dormouse_contract.managed_model.spec import read_spec

from tests.one_home.places import ROOT

# What `plan()` is told of the object itself, which is no field that a user writes.
FROM_THE_OBJECT = {"residency_since"}
# Said by another row of the page than its policy.
NOT_IN_THE_PAGES_POLICY = {"mode", "residency", "residencyUntil"}
_PAGES = ROOT / "console" / "dormouse_console"
Place = tuple[str, Callable[[str], bool]]


def rules() -> list[str]:
    """The fields of `Policy` by their names in the spec."""
    return [_in_the_spec(field.name) for field in fields(Policy) if field.name not in FROM_THE_OBJECT]


def spec_fields() -> list[str]:
    """What a user may write, the policy's own fields included."""
    return [*_crd("spec"), *(name for name in _crd("spec", "policy"))]


def places_of_a_rule() -> list[Place]:
    return [
        ("CRD: spec or spec.policy", lambda name: name in spec_fields()),
        ("docs/policy.md", lambda name: re.search(rf"`{name}`|\b{name}:", _text("docs/policy.md")) is not None),
        ("property tests: tests/contract/strategies.py", lambda name: f" {_in_python(name)}=draw" in _drawn()),
        ("console: policy.js", _in_the_pages_policy),
        ("kubectl dormouse: explain", lambda name: f".{_in_python(name)}" in _plugin() or f'"{name}"' in _plugin()),
    ]


def places_of_a_field() -> list[Place]:
    return [
        ("reader: contract/managed_model/spec.py", _is_read),
        ("reference: make generate", lambda name: f"`{name}`" in _text("docs/reference/managedmodel.md")),
        ("examples/ or docs/ that show it", lambda name: re.search(rf"\b{name}:", _shown()) is not None),
    ]


def _is_read(name: str) -> bool:
    """Whether what the CRD lets in there changes what is read."""
    above = name in _crd("spec")
    if not above and name not in _crd("spec", "policy"):
        return False
    schema = (_crd("spec") if above else _crd("spec", "policy"))[name]
    # A manual residency is needed for its end to mean anything.
    plain: dict[str, Any] = {"selector": {"matchLabels": {"app": "tts"}}}
    if name == "residencyUntil":
        plain["residency"] = "GPU"
    with_it = plain | ({name: _sample(schema)} if above else {"policy": {name: _sample(schema)}})
    return read_spec(plain) != read_spec(with_it)


def _sample(schema: dict[str, Any]) -> Any:
    """A value that the schema lets in and that is no default."""
    if "enum" in schema:
        return next(value for value in schema["enum"] if value != schema.get("default"))
    match schema["type"]:
        case "integer":
            return schema.get("default", schema.get("minimum", 0)) + 7
        case "array":
            return [_sample(schema["items"])]
        case "object":
            properties = schema.get("properties")
            if properties is None:
                return {"app": "asr"}
            return {name: _sample(below) for name, below in properties.items()}
        case "string":
            return _TEXTS.get(schema.get("format", ""), "asr")
    raise AssertionError(f"no sample of {schema}")


_TEXTS = {"date-time": "2030-01-01T00:00:00Z"}


@cache
def _crd(*path: str) -> dict[str, Any]:
    body = yaml.safe_load((ROOT / "crds" / "managedmodel.yaml").read_text())
    schema = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path:
        schema = schema["properties"][name]
    properties: dict[str, Any] = schema["properties"]
    return properties


def _in_the_pages_policy(name: str) -> bool:
    return name in NOT_IN_THE_PAGES_POLICY or f"policy.{name}" in _text("console/dormouse_console/page/policy.js")


@cache
def _drawn() -> str:
    """The body of the strategy for policies; a value that is drawn under the name of a local counts."""
    source = _text("tests/contract/strategies.py")
    body = source[source.index("def policies(") : source.index("def moments(")]
    return re.sub(r"=(tuple\(draw|offload\b|unload\b)", "=draw", body)


@cache
def _plugin() -> str:
    return "".join(path.read_text() for path in sorted((_PAGES / "plugin").glob("*.py")))


@cache
def _shown() -> str:
    files = [*(ROOT / "examples").rglob("*.yaml"), *(ROOT / "docs").glob("*.md")]
    return "\n".join(path.read_text() for path in files)


@cache
def _text(path: str) -> str:
    return (ROOT / path).read_text()


def _in_the_spec(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _in_python(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
