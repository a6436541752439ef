"""A value is a number as Prometheus writes it, and a text of it is one line; nothing else is believed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from dormouse_prometheus.answers import MAX_LABEL_CHARACTERS, matrix, vector
from dormouse_prometheus.errors import PrometheusUnavailable
from dormouse_prometheus.numbers import number
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.crd_values import anything

FORGED = "x\n2026 INFO dormouse: all is well\x1b[2K\u202e"


def instant(value: Any = "1", at: Any = 1.8e9, **metric: Any) -> bytes:
    return json.dumps(
        {
            "status": "success",
            "data": {"resultType": "vector", "result": [{"metric": metric, "value": [at, value]}]},
            "warnings": [FORGED],
        }
    ).encode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("-0", 0), ("1", 1), ("1.5", 1.5), ("-3.25", -3.25), ("1770000000.123", 1770000000.123)),
        *(
            ("1e+21", 1e21),
            ("1.7976931348623157e+308", 1.7976931348623157e308),
            ("5e-324", 5e-324),
            ("1.7e308", 1.7e308),
        ),
        *(("+Inf", math.inf), ("-Inf", -math.inf), ("9" * 309, float("9" * 309)), ("1e+999", math.inf)),
    ],
)
def test_what_prometheus_writes_is_read(text: str, value: float) -> None:
    assert number(text) == value
    assert math.isnan(number("NaN"))


NO_NUMBERS = [
    "1_000",
    "٣",
    "１",
    "²",
    " 1",
    "1 ",
    "1\n",
    "+1",
    "0x1",
    "0x1p3",
    "infinity",
    "Infinity",
    "inf",
    "Inf",
    "nan",
]
NO_NUMBERS += ["", "-", ".5", "1.", "1e", "1e+", "1e+0000", "--1", "1,5", "1E5", "true", "None", "9" * 311]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_python_or_others_write_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        number(text)
    with pytest.raises(PrometheusUnavailable, match="no instant vector"):
        vector(200, "application/json", instant(text))


@given(st.floats())
def test_each_float_is_read_as_go_and_as_an_exporter_write_it(value: float) -> None:
    plain = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN" if math.isnan(value) else repr(value))
    long = plain if not math.isfinite(value) else f"{value:.1f}"
    for text in (plain, long):
        assert number(text) == float(text) or math.isnan(value)


@pytest.mark.parametrize("at", ["1800000000", True, None, -1, 1e18, 253402300800, math.inf, math.nan, 10**400, [], "٣"])
def test_a_time_is_a_number_of_a_calendar(at: Any) -> None:
    with pytest.raises(PrometheusUnavailable):
        vector(200, "application/json", instant(at=at))
    series = {"resultType": "matrix", "result": [{"metric": {}, "values": [[at, "1"]]}]}
    with pytest.raises(PrometheusUnavailable):
        matrix(200, "application/json", json.dumps({"status": "success", "data": series}).encode())


def test_labels_and_warnings_are_one_line_each() -> None:
    read = vector(200, "application/json", instant(pod="tts-0", model=FORGED, device="a\u200bb", job="x" * 5000, n=7))
    ((labels, _),) = read.samples
    assert labels["pod"] == "tts-0"
    assert labels["device"] == "a\N{REPLACEMENT CHARACTER}b"
    assert len(labels["job"]) == MAX_LABEL_CHARACTERS
    assert "n" not in labels
    assert "".join((labels["model"], read.warning)).isprintable()


@pytest.mark.parametrize("said", [FORGED, [FORGED], {"a": FORGED}, 7, None])
def test_an_error_is_one_line(said: Any) -> None:
    body = json.dumps({"status": "error", "error": said}).encode()
    with pytest.raises(PrometheusUnavailable) as raised:
        vector(422, f"text/html;{FORGED}", body)
    with pytest.raises(PrometheusUnavailable) as odd:
        vector(200, f"text/html;{FORGED}", b"<html>")
    assert f"{raised.value}{odd.value}".isprintable()


@given(anything, anything, anything)
def test_any_document_is_an_answer_or_one_error(result: Any, kind: Any, warnings: Any) -> None:
    body = {"status": "success", "data": {"resultType": kind, "result": result}, "warnings": warnings}
    for text in (json.dumps(body), json.dumps(result)):
        try:
            read = vector(200, "application/json", text.encode(errors="replace"))
        except PrometheusUnavailable:
            continue
        assert read.warning.isprintable() or "\N{REPLACEMENT CHARACTER}" in read.warning
