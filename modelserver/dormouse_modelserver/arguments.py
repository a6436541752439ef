"""What callers of the library give us, judged where they call: `idle_timeout="600"` should not become a
`'<' not supported between 'str' and 'float'` minutes later in a thread of ours.

Settings raise `ConfigurationError`, since a setting is what must be changed; arguments of a single call
raise `TypeError` or `ValueError` as Python's own functions do. Nothing has happened when they raise.
"""

import math
from typing import Any

from dormouse_contract import Residency

from .errors import ConfigurationError


def check_seconds_setting(name: str, value: object) -> None:
    """A number of seconds from 0 on (`math.inf` is never), or None."""
    problem = _no_seconds_because(value)
    if problem is not None:
        raise ConfigurationError(f"{name} is {value!r}: {problem}")


def check_turn(name: str, value: object) -> None:
    """More than 0 seconds (`math.inf` is never), or None."""
    check_seconds_setting(name, value)
    if value is not None and not value > 0:  # type: ignore[operator]
        raise ConfigurationError(f"{name} is {value!r}: write more than 0 seconds; a model in use needs time to end")


def check_seconds_argument(call: str, value: object) -> None:
    """The same for one call's argument, `call` being how it reads: `tts.on_gpu(timeout=…)`."""
    if value is None:
        return
    problem = _no_seconds_because(value)
    if problem is not None:
        kind = ValueError if _is_number(value) else TypeError
        raise kind(f"{call} was given {value!r}: {problem}. Nothing was done")


def check_residency(call: str, value: object) -> None:
    if not isinstance(value, Residency):
        choices = ", ".join(f"Residency.{tier.name}" for tier in Residency)
        raise TypeError(f"{call} was given {value!r}: give one of {choices}. Nothing was moved")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} is {value!r}; write {' or '.join(map(repr, choices))}")


def check_callable(name: str, value: object, what: str) -> None:
    """A function or None; `what` says which function it should be."""
    if value is not None and not callable(value):
        raise ConfigurationError(f"{name} is {value!r}, which can't be called; give {what}")


def check_text(name: str, value: object, example: str) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is {value!r}; write a text, for example {example!r}")


def check_fastapi(app: Any) -> None:
    """`install()` adds routes and an error handler, which an arbitrary ASGI app has no place for."""
    if not (callable(getattr(app, "include_router", None)) and hasattr(app, "router")):
        raise TypeError(
            f"install() was given {app!r}; give your FastAPI app, or start any other ASGI app with "
            "`dormouse-modelserver serve --app package.module:create_app`"
        )


def _no_seconds_because(value: object) -> str | None:
    if value is None:
        return None
    if not _is_number(value):
        hint = _as_number(value)
        return "write a number of seconds" + (f", {hint}, not a text" if hint is not None else ", or None")
    if not value >= 0:  # type: ignore[operator]
        return "write 0 or more seconds"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return f"{number:g}" if math.isfinite(number) else None
