"""The settings of `serve`: from options, the environment and `$PROJECT_DIR/dormouse.toml`, in this order."""

import argparse
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Timeouts in seconds, None for never. `models` maps names to `package.module:function`."""

    models: dict[str, str]
    app: str | None
    idle_timeout: float | None
    unload_timeout: float | None
    after_task: Literal["keep", "offload"]
    host: str
    port: int
    device: str
    project_dir: Path


@dataclass(frozen=True, slots=True)
class _Setting:
    key: str
    variable: str | None
    default: str
    help: str


_IDLE = _Setting(
    "idle-timeout", "GPU_IDLE_TIMEOUT", "600", "seconds without use until GPU → CPU; 0 after each task; 'never'"
)
_UNLOAD = _Setting(
    "unload-timeout", "GPU_UNLOAD_TIMEOUT", "never", "seconds without use until the weights leave host RAM; 'never'"
)
_AFTER = _Setting("after-task", "GPU_AFTER_TASK", "keep", "when a task ends 'keep' the weights there or 'offload' them")
_HOST = _Setting("host", None, "127.0.0.1", "address to listen on")
_PORT = _Setting("port", "PORT", "7860", "port to listen on")
_DEVICE = _Setting("device", "DORMOUSE_DEVICE", "auto", "auto, cuda:0, or sim[:SIZE[@/path]] for a simulated one")
_SETTINGS = (_IDLE, _UNLOAD, _AFTER, _HOST, _PORT, _DEVICE)


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=MODULE:FUNCTION",
        help="a model and its load; repeatable",
    )
    parser.add_argument("--app", metavar="MODULE:FUNCTION", help="create_app(residency), returns your ASGI app")
    for setting in _SETTINGS:
        source = f"; also {setting.variable}" if setting.variable else ""
        parser.add_argument(
            f"--{setting.key}", metavar="VALUE", help=f"{setting.help} (default {setting.default}{source})"
        )


def resolve(given: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> ServeSettings:
    """Raises `ConfigurationError` that names the setting, where it came from and what to write."""
    project_dir = Path(environment.get("PROJECT_DIR", ".")).resolve()
    file = _read_file(project_dir / "dormouse.toml")
    behind_sidecar = bool(environment.get("DORMOUSE_SOCKET"))

    def value(setting: _Setting) -> tuple[str, str]:
        option = getattr(given, setting.key.replace("-", "_"))
        if option is not None:
            return str(option), f"--{setting.key}"
        if setting.variable is not None and environment.get(setting.variable, "") != "":
            return environment[setting.variable], setting.variable
        if setting.key in file:
            return str(file[setting.key]), f"dormouse.toml: {setting.key}"
        # Behind a sidecar the operator decides; explicit timeouts count while it lends no policy.
        never = behind_sidecar and setting in (_IDLE, _UNLOAD)
        return "never" if never else setting.default, f"default of --{setting.key}"

    models = dict(file.get("models", {}))
    for entry in given.model:
        name, separator, target = entry.partition("=")
        if not separator or not name or not target:
            raise ConfigurationError(f"--model {entry!r}: write NAME=package.module:function")
        models[name] = target
    settings = ServeSettings(
        models=models,
        app=given.app or file.get("app"),
        idle_timeout=_seconds(*value(_IDLE)),
        unload_timeout=_seconds(*value(_UNLOAD)),
        after_task=_after_task(*value(_AFTER)),
        host=value(_HOST)[0],
        port=_port(*value(_PORT)),
        device=value(_DEVICE)[0],
        project_dir=project_dir,
    )
    if not settings.models and settings.app is None:
        raise ConfigurationError(
            "there is nothing to serve; give --model NAME=package.module:function or --app package.module:create_app"
        )
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
    known = {setting.key for setting in _SETTINGS} | {"app", "models"}
    for key in content:
        if key not in known:
            raise ConfigurationError(f"{path}: unknown setting {key!r}; known are {', '.join(sorted(known))}")
    if not isinstance(content.get("models", {}), dict):
        raise ConfigurationError(f'{path}: models is no table; write [models] and tts = "package.module:function"')
    targets = {f"models.{name}": target for name, target in content.get("models", {}).items()}
    for key, target in {**targets, "app": content.get("app", "")}.items():
        if not isinstance(target, str):
            raise ConfigurationError(f'{path}: {key} is {target!r}; write "package.module:function"')
    return content


def _number(text: str, source: str, parse: Callable[[str], float], hint: str) -> float:
    try:
        return parse(text)
    except ValueError:
        raise ConfigurationError(f"{source} is {text!r}; write {hint}") from None


def _seconds(text: str, source: str) -> float | None:
    if text.strip().lower() == "never":
        return None
    seconds = _number(text, source, float, "seconds, for example 600, or never")
    if not 0 <= seconds < 10 * 365 * 86400:
        raise ConfigurationError(f"{source} is {text!r}; write 0 or more seconds, or never")
    return seconds


def _port(text: str, source: str) -> int:
    port = int(_number(text, source, int, "a port number, for example 7860"))
    if not 0 < port < 65536:
        raise ConfigurationError(f"{source} is {text!r}; write a port from 1 to 65535")
    return port


def _after_task(text: str, source: str) -> Literal["keep", "offload"]:
    if text == "keep":
        return "keep"
    if text == "offload":
        return "offload"
    raise ConfigurationError(f"{source} is {text!r}; write keep or offload")
