"""`--until 18:00`, `--until 2h`: the ways in which people name a moment. Pure."""

import re
from datetime import UTC, datetime, timedelta

from dormouse_contract.timestamps import from_rfc3339_or_none

from ..errors import SettingsError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WRONG = "write a span (2h, 30m, 1d), a time of today or tomorrow (18:00), or a moment (2026-12-01T18:00)"


def moment(text: str, now: datetime) -> datetime:
    """`now` has a time zone, which a bare time of day is read in. Raises SettingsError."""
    span = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if span is not None:
        return now + timedelta(seconds=int(span[1]) * _UNITS[span[2]])
    clock = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    if clock is not None:
        hour, minute = int(clock[1]), int(clock[2])
        if hour > 23 or minute > 59:
            raise SettingsError(f"--until is {text!r}, and there is no such time; {_WRONG}")
        today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return today if today > now else today + timedelta(days=1)
    try:
        exact = from_rfc3339_or_none(text)
        said = datetime.fromisoformat(text) if exact is None else datetime.fromtimestamp(exact, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(f"--until is {text!r}; {_WRONG}") from error
    return said if said.tzinfo is not None else said.replace(tzinfo=now.tzinfo)


def age(seconds: float) -> str:
    """Two units, as kubectl writes ages: 2d5h, 3h12m, 8m20s, 45s."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for name, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count}{name}")
        if len(parts) == 2:
            break
    return "".join(part for part in parts if not part.startswith("0")) or "0s"
