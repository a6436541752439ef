"""A body that gives a key twice means two things, and is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dormouse_contract.duplicate_keys import fault_of_keys
from dormouse_contract.wire import ModelReports, OrderStamp, PolicyLoan, ResidencyOrder, Wire
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json

from .crd_values import anything
from .test_wire import LOAN, ORDER, STAMP


@pytest.mark.parametrize(
    ("kind", "text", "key"),
    [
        pytest.param(ResidencyOrder, '{"desired": "CPU", "desired": "GPU"}', "desired", id="two orders"),
        pytest.param(ResidencyOrder, '{"desired": "CPU", "desired": "CPU"}', "desired", id="the same twice"),
        pytest.param(ResidencyOrder, '{"desired": "CPU", "\\u0064esired": "GPU"}', "desired", id="escaped"),
        pytest.param(
            ResidencyOrder,
            json.dumps(ORDER).replace('"term": 2', '"term": 2, "term": 9'),
            "term",
            id="inside the stamp",
        ),
        pytest.param(PolicyLoan, json.dumps(LOAN)[:-1] + ', "pinned": false}', "pinned", id="a loan"),
        pytest.param(OrderStamp, json.dumps(STAMP)[:-1] + f', "term": {"9" * 5000}}}', "term", id="a huge number"),
        pytest.param(ModelReports, '{"models": [], "models": [{"name": "a"}]}', "models", id="an answer"),
        pytest.param(ModelReports, '{"models": [], "x": [{"y": {"z": 1, "z": 1}}]}', "z", id="where nobody looks"),
    ],
)
def test_a_key_that_is_given_twice_is_named(kind: type[Wire], text: str, key: str) -> None:
    for body in (text, text.encode()):
        with pytest.raises(ValidationError, match=f"the key '{key}' is given twice"):
            kind.from_json(body)


def test_a_key_is_quoted_as_one_short_line() -> None:
    key = "\\n\\u001b[2J" + "x" * 500
    fault = fault_of_keys(f'{{"{key}": 1, "{key}": 2}}')
    assert fault.isprintable()
    assert len(fault) < 120


def test_what_is_nested_deeper_than_we_can_look_is_refused() -> None:
    for depth in (150, 5000, 100_000):
        with pytest.raises(ValidationError):
            ResidencyOrder.from_json("[" * depth + "]" * depth)
        with pytest.raises(ValidationError):
            ResidencyOrder.from_json('{"a":' * depth + "1" + "}" * depth)


@given(anything)
def test_what_a_program_writes_has_no_key_twice(value: Any) -> None:
    assert fault_of_keys(json.dumps(value)) == ""


_KEYS = st.sampled_from(
    ['"a"', '"b"', '"\\u0061"', '"\ud83d\ude00"'.encode("utf-16", "surrogatepass").decode("utf-16")]
)
_NUMBERS = st.sampled_from(["1", "-0.5e9", "NaN", "-Infinity", "1e999", "true", "null", '"a\\u2028"', '"\x7f"'])
_objects = st.recursive(
    _NUMBERS,
    lambda inner: (
        st.lists(st.tuples(_KEYS, inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]")
    ),
)


def _pairs(text: str) -> int:
    """How many values have a key, by another reader."""
    counted = 0

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal counted
        counted += len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=count)
    return counted


def _kept(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (len(value) if isinstance(value, dict) else 0) + sum(map(_kept, inner))


@given(_objects)
def test_whatever_our_parser_takes_loses_no_value(text: str) -> None:
    if not fault_of_keys(text):
        assert _kept(from_json(text)) == _pairs(text)


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_no_text_makes_it_raise(body: str | bytes) -> None:
    try:
        body.encode() if isinstance(body, str) else body
    except UnicodeEncodeError:
        return
    assert isinstance(fault_of_keys(body), str)
