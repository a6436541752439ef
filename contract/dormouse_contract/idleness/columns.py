"""How one figure of the idle signal is asked for and what is believed of it: a line of the table in `reading.py`.

A column holds, for each replica, the distinct values that were found: one, unless something is wrong. A pod may export
any number, so each figure has a most that it can be: nothing that is made of many, a sum or a text, can then overflow.
"""

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from enum import Enum, auto
from typing import Any

from ..metrics import Metric
from ..timestamps import LAST_SECOND

# A float holds each whole number up to there; no device has as many bytes, and no model as many requests.
MOST = 2.0**53
Values = tuple[float, ...]
"""What was found of one replica: empty for nothing, more than one where two scrapes disagree."""
MOST_VALUES = 8
"""So many values of one replica are looked at; two jobs, each in three copies, make six. More is a disagreement."""
Check = Callable[[Values], Any]
"""From what was found to what is believed. Raises Disbelieved; given nothing, it says what nothing means."""
_COLUMN = "column"


class Asked(Enum):
    """VALUE: the sample itself. TIMESTAMP: when it was taken. POSITIVE: the sample, and only where it is above 0,
    which keeps an answer small that is 0 for nearly everybody."""

    VALUE = auto()
    TIMESTAMP = auto()
    POSITIVE = auto()

    def of(self, value: float, taken_at: float | None) -> float | None:
        """The answer for one sample at hand; None for none."""
        match self:
            case Asked.TIMESTAMP:
                return taken_at
            case Asked.POSITIVE:
                return value if value > 0 else None
        return value


class Disbelieved(Exception):
    """Why a value is not believed, to be read after the column's name."""


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is the field of Reading that is made of it."""

    name: str
    metric: Metric
    asked: Asked
    check: Check


def column(metric: Metric, check: Check, asked: Asked = Asked.VALUE, *, compared: bool = True) -> Any:
    """A field of a dataclass that is a column. compared: False for what differs at every look and means nothing."""
    return field(default=check(()), compare=compared, metadata={_COLUMN: (metric, asked, check)})


def as_column(one: "Field[Any]") -> Column | None:
    """The column of a dataclass' field; None for a field that is none."""
    said = one.metadata.get(_COLUMN)
    if said is None:
        return None
    metric, asked, check = said
    return Column(one.name, metric, asked, check)


def agreed(values: Values, most: float = MOST) -> float | None:
    """One plain number from 0 to `most`; None where there is none."""
    if not values:
        return None
    if len(values) > 1:
        raise Disbelieved("is given more than once with different values")
    if not 0 <= values[0] <= most:
        raise Disbelieved(f"is {values[0]:g}, which it can't be")
    return values[0]


def counted(values: Values) -> int | None:
    """As `agreed`, of things that are counted: there is no half of one."""
    value = agreed(values)
    if value is None:
        return None
    if value != int(value):
        raise Disbelieved(f"is {value:g}, which is no count")
    return int(value)


def moment(values: Values) -> float | None:
    """As `agreed`, of a time (Unix seconds) that a calendar has."""
    return agreed(values, LAST_SECOND)


def earliest(values: Values) -> float | None:
    """Several jobs may scrape one pod; then the oldest sample counts. None where one is no time at all, or where there
    are more than are kept, of which one may be older."""
    kept = 0 < len(values) <= MOST_VALUES
    return min(values) if kept and all(0 <= value <= LAST_SECOND for value in values) else None


def present(values: Values) -> bool:
    """Whether there is any. Nothing is no: who does not export it (yet) says nothing."""
    return bool(values)
