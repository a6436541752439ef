"""How a setting becomes a flag: each room has the flags of its settings beside them (`*/flags.py`).

A default is said once, in the settings; here it becomes the text that a flag and its help show.
"""

from dormouse_prometheus.flags import AddFlag as AddFlag

from .errors import SettingsError


def text_of(default: float) -> str:
    """As one would write it: `15`, `0.5`, `31536000`."""
    return f"{default:.12g}"


def number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"{flag} is {text!r}; write a number") from error
