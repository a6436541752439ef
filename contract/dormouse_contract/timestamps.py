"""Times as Kubernetes writes them (RFC 3339) and as we compute with them (Unix seconds).

The API server takes more than `datetime.fromisoformat` reads: a lower-case `t` and `z` and any fraction among it. What
it takes and we don't understand is said by the caller, since "no time" is not "never".
"""

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
# 9999-12-31T23:59:59Z, the last second that can be written.
LAST_SECOND = 253_402_300_799.0


def to_rfc3339(unix_seconds: float) -> str:
    """In UTC with whole seconds, as conditions have it."""
    return _written(unix_seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_rfc3339_micro(unix_seconds: float) -> str:
    """In UTC with microseconds, for what is compared with a metric later and for Events."""
    return _written(unix_seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_rfc3339(text: str) -> float:
    """Unix seconds. A leap second (`:60`) is the second after it, since Unix time has none.

    Raises ValueError for what is no RFC 3339 time, a time without an offset included, and for the year 0.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time such as 2026-12-01T00:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time that there is: {error}") from error
    offset = 0
    if found[8]:
        offset = (int(found[9]) * 60 + int(found[10])) * 60 * (-1 if found[8] == "-" else 1)
    return moment.timestamp() + float(leap) + float(found[7] or 0.0) - offset


def from_rfc3339_or_none(text: object) -> float | None:
    """None for what is absent and for what is no time: only where the two may mean the same."""
    try:
        return from_rfc3339(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _written(unix_seconds: float) -> datetime:
    """Whatever is said, an integer that no float holds included: what is outside of the calendar is its nearest end."""
    # What is no number is neither more nor less than another, so it is 0 by this order.
    return datetime.fromtimestamp(min(max(0.0, unix_seconds), LAST_SECOND), UTC)
