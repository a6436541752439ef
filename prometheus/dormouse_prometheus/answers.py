"""What an answer of Prometheus says, taken from its JSON; whatever else comes is one error with a sentence. Pure.

Nothing of the body is trusted: another server may answer at the address, and a proxy may put its page in between.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dormouse_contract.printable import printable
from pydantic_core import from_json

from .errors import PrometheusTooMuchAsked, PrometheusUnavailable
from .numbers import number

MAX_QUOTED_CHARACTERS = 200
# Names of Kubernetes have 253 at most.
MAX_LABEL_CHARACTERS = 256
# The end of the year 9999: what is later is no time.
_LAST_SECOND = 253_402_300_799.0
Labels = Mapping[str, str]
_TOO_MUCH = ((422, "execution"), (503, "timeout"))
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Vector:
    """The answer to one instant query. `evaluated_at` is Unix seconds on Prometheus' own clock.

    samples: labels and value; a value may be NaN or infinite. A label that is no text is not among them, and each
        is one line that can be shown.
    warning: what the answer says of its own completeness (a store of Thanos that is away, a remote read that
        failed); what it has is right all the same.
    """

    evaluated_at: float
    samples: tuple[tuple[Labels, float], ...]
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One of the answers to a range query. `points` are (Unix seconds, value), as Prometheus gave them."""

    labels: Labels
    points: tuple[tuple[float, float], ...]


def vector(status: int, content_type: str, body: bytes | bytearray) -> Vector:
    """Raises PrometheusUnavailable for all that is no instant vector."""
    return _read(status, content_type, body, "instant vector", _vector)


def matrix(status: int, content_type: str, body: bytes | bytearray) -> tuple[Series, ...]:
    """Raises PrometheusUnavailable for all that is no answer to a range query."""
    return _read(status, content_type, body, "range of samples", _matrix)


def quoted(text: object) -> str:
    """Foreign text within a sentence: one line, not long."""
    return printable(str(text).strip(), MAX_QUOTED_CHARACTERS)


def _read(
    status: int, content_type: str, body: bytes | bytearray, wanted: str, parse: Callable[[Mapping[str, Any]], _Parsed]
) -> _Parsed:
    try:
        # Unlike `json`, it refuses a body that is nested too deep with the same error as any other.
        answer = from_json(body)
    except ValueError as error:
        kind = quoted(content_type or "no content type")
        raise PrometheusUnavailable(
            f"what answers at the Prometheus URL is not its API (HTTP {status}, {kind}); check --prometheus-url"
        ) from error
    if status != 200 or not isinstance(answer, dict) or answer.get("status") != "success":
        detail = answer.get("error") if isinstance(answer, dict) else None
        reason = answer.get("errorType") if isinstance(answer, dict) else None
        # For a mere selector, what fails while it is evaluated is a limit: of samples, of series, of time.
        unavailable = PrometheusTooMuchAsked if (status, str(reason)) in _TOO_MUCH else PrometheusUnavailable
        raise unavailable(f"Prometheus answered HTTP {status}: {quoted(detail or 'no error text')}")
    try:
        return parse(answer)
    # OverflowError: JSON has integers that no float holds.
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise PrometheusUnavailable(
            f"Prometheus answered JSON that is no {wanted}; is --prometheus-url that of a Prometheus API?"
        ) from error


def _vector(answer: Mapping[str, Any]) -> Vector:
    samples: list[tuple[Labels, float]] = []
    for entry in _result(answer, "vector"):
        _, value = entry["value"]
        if type(value) is not str:
            raise TypeError
        samples.append((_labels(entry["metric"]), number(value)))
    evaluated_at = _moment(answer["data"]["result"][0]["value"][0]) if samples else math.nan
    warnings = answer.get("warnings") or ()
    return Vector(evaluated_at, tuple(samples), quoted(warnings[0]) if warnings else "")


def _matrix(answer: Mapping[str, Any]) -> tuple[Series, ...]:
    return tuple(
        Series(_labels(entry["metric"]), tuple(map(_point, entry["values"]))) for entry in _result(answer, "matrix")
    )


def _result(answer: Mapping[str, Any], kind: str) -> Sequence[Any]:
    data = answer["data"]
    result = data["result"]
    if data["resultType"] != kind or type(result) is not list:
        raise ValueError(data["resultType"])
    return result


def _labels(labels: Any) -> Labels:
    if type(labels) is not dict:
        raise TypeError
    try:
        # The quickest way to ask whether all is as usual; it runs 70,000 times a look.
        together = "".join(labels.values())
    except TypeError:
        together = "\n"
    if len(together) <= MAX_LABEL_CHARACTERS and together.isascii() and together.isprintable():
        return labels
    return {name: printable(value, MAX_LABEL_CHARACTERS) for name, value in labels.items() if type(value) is str}


def _point(point: Any) -> tuple[float, float]:
    at, value = point
    if type(value) is not str:
        raise TypeError
    return _moment(at), number(value)


def _moment(given: Any) -> float:
    if type(given) not in (int, float) or not 0 <= given <= _LAST_SECOND:
        raise ValueError("no time")
    return float(given)
