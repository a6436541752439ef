"""The settings of `serve`: from options, the environment and `$PROJECT_DIR/dormouse.toml`, in this order."""

import argparse
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dormouse_contract.defaults import AFTER_TASK, SERVE_IDLE_TIMEOUT_SECONDS, TURN_SECONDS
from dormouse_contract.ports import Port

from ..errors import ConfigurationError
from ..lifecycle.settings import AfterTask
from .durations import parse_seconds, shown
from .settings_file import FILE_NAME, read_settings_file


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model: its `package.module:function`, and what it has of its own.

    Timeouts in seconds, `math.inf` for never; None is the server's, as in `register()`.
    """

    load: str
    idle_timeout: float | None = None
    unload_timeout: float | None = None
    after_task: AfterTask | None = None
    turn: float | None = None


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Timeouts in seconds, None for never. behind_sidecar: an operator decides, as long as it lends a policy.

    preload: load every model into host RAM at start, and be ready only then.
    turn: math.inf for never.
    """

    models: dict[str, ModelSettings]
    app: str | None
    idle_timeout: float | None
    unload_timeout: float | None
    after_task: AfterTask
    host: str
    port: int
    device: str
    project_dir: Path
    behind_sidecar: bool = False
    preload: bool = False
    turn: float = TURN_SECONDS


@dataclass(frozen=True, slots=True)
class _Setting:
    key: str
    variable: str | None
    default: str
    help: str
    is_switch: bool = False


_IDLE = _Setting(
    "idle-timeout",
    "GPU_IDLE_TIMEOUT",
    f"{SERVE_IDLE_TIMEOUT_SECONDS:g}",
    "seconds without use until GPU → CPU; 0 after each task; 'never'",
)
_UNLOAD = _Setting(
    "unload-timeout", "GPU_UNLOAD_TIMEOUT", "never", "seconds without use until the weights leave host RAM; 'never'"
)
_AFTER = _Setting(
    "after-task", "GPU_AFTER_TASK", AFTER_TASK, "when a task ends 'keep' the weights there or 'offload' them"
)
_HOST = _Setting("host", None, "127.0.0.1", "address to listen on")
_PORT = _Setting("port", "PORT", str(Port.SERVE), "port to listen on")
_DEVICE = _Setting("device", "DORMOUSE_DEVICE", "auto", "auto, cuda:0, or sim[:SIZE[@/path]] for a simulated one")
_PRELOAD = _Setting(
    "preload",
    "DORMOUSE_PRELOAD",
    "false",
    "load each model into host RAM at start; /readyz is 503 until that is done",
    is_switch=True,
)
_TURN = _Setting(
    "turn",
    "DORMOUSE_TURN",
    f"{TURN_SECONDS:g}",
    "seconds that a model without room waits for one that is never at rest, before that one lets it in; 'never'",
)
_SETTINGS = (_IDLE, _UNLOAD, _AFTER, _HOST, _PORT, _DEVICE, _PRELOAD, _TURN)


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
        said = f"{setting.help} (default {setting.default}{source})"
        if setting.is_switch:
            parser.add_argument(f"--{setting.key}", action="store_const", const="true", help=said)
        else:
            parser.add_argument(f"--{setting.key}", metavar="VALUE", help=said)


def project_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the user's code and `dormouse.toml` are. Raises `ConfigurationError`."""
    folder = Path(environment.get("PROJECT_DIR") or ".").expanduser().resolve()
    if not folder.is_dir():
        raise ConfigurationError(f"PROJECT_DIR is {str(folder)!r}, which is no folder; write your project's folder")
    return folder


def resolve(given: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> ServeSettings:
    """Raises `ConfigurationError` that names the setting, where it came from and what to write."""
    folder = project_dir(environment)
    path = folder / FILE_NAME
    switches = [setting.key for setting in _SETTINGS if setting.is_switch]
    file = read_settings_file(path, (setting.key for setting in _SETTINGS), switches)
    behind_sidecar = bool(environment.get("DORMOUSE_SOCKET"))

    def value(setting: _Setting) -> tuple[str, str]:
        option = getattr(given, setting.key.replace("-", "_"))
        if option is not None:
            return str(option), f"--{setting.key}"
        if setting.variable is not None and environment.get(setting.variable, "") != "":
            return environment[setting.variable], setting.variable
        if setting.key in file.values:
            return file.values[setting.key], f"{FILE_NAME}: {setting.key}"
        # Behind a sidecar the operator decides; explicit timeouts count while it lends no policy.
        never = behind_sidecar and setting in (_IDLE, _UNLOAD)
        return "never" if never else setting.default, f"default of --{setting.key}"

    models = {name: _model(name, table) for name, table in file.models.items()}
    for entry in given.model:
        name, separator, target = entry.partition("=")
        if not separator or not name or not target:
            raise ConfigurationError(f"--model {entry!r}: write NAME=package.module:function")
        models[name] = replace(models.get(name, ModelSettings(target)), load=target)
    settings = ServeSettings(
        models=models,
        app=given.app or file.app,
        idle_timeout=parse_seconds(*value(_IDLE)),
        unload_timeout=parse_seconds(*value(_UNLOAD)),
        after_task=_after_task(*value(_AFTER)),
        host=value(_HOST)[0],
        port=_port(*value(_PORT)),
        device=value(_DEVICE)[0],
        project_dir=folder,
        behind_sidecar=behind_sidecar,
        preload=_yes_or_no(*value(_PRELOAD)),
        turn=_turn(*value(_TURN)),
    )
    if not settings.models and settings.app is None:
        raise ConfigurationError(
            "there is nothing to serve; give --model NAME=package.module:function or "
            f"--app package.module:create_app, or write them into {path}"
        )
    _check_order(settings.idle_timeout, settings.unload_timeout, value(_IDLE)[1], value(_UNLOAD)[1])
    for name, model in models.items():
        where = f"{FILE_NAME}: models.{name}"
        idle, idle_source = _own_or(model.idle_timeout, f"{where}.idle-timeout", settings.idle_timeout, value(_IDLE)[1])
        unload, unload_source = _own_or(
            model.unload_timeout, f"{where}.unload-timeout", settings.unload_timeout, value(_UNLOAD)[1]
        )
        _check_order(idle, unload, idle_source, unload_source)
    return settings


def _model(name: str, table: Mapping[str, str]) -> ModelSettings:
    def seconds(key: str) -> float | None:
        if key not in table:
            return None
        own = parse_seconds(table[key], f"{FILE_NAME}: models.{name}.{key}")
        return math.inf if own is None else own

    after_task = table.get("after-task")
    return ModelSettings(
        table["load"],
        seconds("idle-timeout"),
        seconds("unload-timeout"),
        None if after_task is None else _after_task(after_task, f"{FILE_NAME}: models.{name}.after-task"),
        _turn(table["turn"], f"{FILE_NAME}: models.{name}.turn") if "turn" in table else None,
    )


def _own_or(own: float | None, source: str, servers: float | None, servers_source: str) -> tuple[float | None, str]:
    return (servers, servers_source) if own is None else (None if math.isinf(own) else own, source)


def _check_order(idle: float | None, unload: float | None, idle_source: str, unload_source: str) -> None:
    if idle is not None and unload is not None and unload <= idle:
        raise ConfigurationError(
            f"{unload_source} is {shown(unload)} and {idle_source} is {shown(idle)}: the unload must come later; "
            f"write more than {idle:g} for the unload, or never"
        )


def _port(text: str, source: str) -> int:
    try:
        port = int(text)
    except ValueError:
        raise ConfigurationError(f"{source} is {text!r}; write a port number, for example {Port.SERVE}") from None
    if not 0 < port < 65536:
        raise ConfigurationError(f"{source} is {text!r}; write a port from 1 to 65535")
    return port


def _yes_or_no(text: str, source: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ConfigurationError(f"{source} is {text!r}; write true or false")
    return text.lower() == "true"


def _turn(text: str, source: str) -> float:
    seconds = parse_seconds(text, source)
    if seconds == 0:
        raise ConfigurationError(f"{source} is 0; write more than 0 seconds: a model in use needs time to end")
    return math.inf if seconds is None else seconds


def _after_task(text: str, source: str) -> AfterTask:
    if text == "keep":
        return "keep"
    if text == "offload":
        return "offload"
    raise ConfigurationError(f"{source} is {text!r}; write keep or offload")
