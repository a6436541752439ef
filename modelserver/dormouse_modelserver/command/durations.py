"""Seconds as people write them in a setting: `600`, `0`, `never`. Anything else is refused with what to write.

Units are refused on purpose: one setting, one unit, and `10m` might be minutes, months or metres.
"""

import re

from ..errors import ConfigurationError

# Ten years: more is a typing error, and far below what a clock can add.
MAX_SECONDS = 10 * 365 * 86400

_WITH_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\s*", re.IGNORECASE)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_seconds(text: str, source: str) -> float | None:
    """Seconds, or None for never. Raises `ConfigurationError` that begins with `source`."""
    if text.strip().lower() == "never":
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ConfigurationError(f"{source} is {text!r}; {_hint(text)}") from None
    if not 0 <= seconds < MAX_SECONDS:
        raise ConfigurationError(f"{source} is {text!r}; write 0 or more seconds, or never")
    return seconds


def shown(seconds: float | None) -> str:
    """For a log line or a page: `600 s` or `never`."""
    return "never" if seconds is None else f"{seconds:g} s"


def _hint(text: str) -> str:
    unit = _WITH_UNIT.fullmatch(text)
    if unit is None:
        return "write seconds, for example 600, or never"
    seconds = float(unit[1]) * _UNIT_SECONDS[unit[2][0].lower()]
    return f"write seconds without a unit: {seconds:.15g}"
