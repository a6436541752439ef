"""`dormouse.toml`: read, and checked for what can be told of it before anything is resolved.

TOML has types, the environment has none: a value is handed on as the text that the other sources would
have, so that one parser with one set of messages judges all three.
"""

import difflib
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

FILE_NAME = "dormouse.toml"
MODEL_KEYS = ("load", "idle-timeout", "unload-timeout", "after-task", "turn")
_TARGET = '"package.module:function"'


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """values: the server's settings as text. models: each model's own table as text; the short form
    `tts = "m:f"` is a table with `load` alone."""

    app: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    models: dict[str, dict[str, str]] = field(default_factory=dict)


def read_settings_file(path: Path, known: Iterable[str], switches: Collection[str] = ()) -> SettingsFile:
    """Empty when there is no such file. `switches` may be written true or false without quotes.

    Raises `ConfigurationError` with file, line and column where it can.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return SettingsFile()
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} can't be read: it is not UTF-8 (byte {error.start}); save it as such"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    values = dict(content)
    app, models = values.pop("app", None), values.pop("models", {})
    known = (*known, "app", "models")
    for key in values:
        _refuse_unknown(key, known, f"{path}: unknown setting {key!r}")
    if app is not None and not isinstance(app, str):
        raise ConfigurationError(f"{path}: app is {app!r}; write {_TARGET}")
    if not isinstance(models, dict):
        raise ConfigurationError(f"{path}: models is no table; write [models] and tts = {_TARGET}")
    return SettingsFile(
        app,
        {key: _text(value, f"{path}: {key}", switch=key in switches) for key, value in values.items()},
        {name: _model(path, name, table) for name, table in models.items()},
    )


def _model(path: Path, name: str, table: Any) -> dict[str, str]:
    where = f"{path}: models.{name}"
    if isinstance(table, str):
        return {"load": table}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} is {table!r}; write {_TARGET}, or a table [models.{name}] with load")
    for key in table:
        _refuse_unknown(key, MODEL_KEYS, f"{where}: unknown setting {key!r}")
    if not isinstance(table.get("load"), str):
        raise ConfigurationError(f"{where} has no load; write load = {_TARGET}")
    return {key: _text(value, f"{where}.{key}") for key, value in table.items()}


def _text(value: Any, where: str, *, switch: bool = False) -> str:
    if switch and isinstance(value, bool):
        return _as_toml(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{where} is {_as_toml(value)}; write a number or a text in quotes")
    return str(value)


def _as_toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _refuse_unknown(key: str, known: Iterable[str], message: str) -> None:
    names = sorted(known)
    if key in names:
        return
    near = difflib.get_close_matches(key.replace("_", "-").lower(), names, n=1)
    meant = f"did you mean {near[0]!r}? Known" if near else "known"
    raise ConfigurationError(f"{message}; {meant} are {', '.join(names)}")
