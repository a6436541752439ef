"""What `serve` writes into its log at the start: what is managed, by which rules, and where to look."""

import logging
import math
from collections.abc import Iterator

from .durations import shown
from .engine.device import DeviceBackend
from .serve_settings import ModelSettings, ServeSettings

_log = logging.getLogger("dormouse")
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - looked for, not listened on


def announce(settings: ServeSettings, device: DeviceBackend) -> None:
    """One line per fact, so that `docker logs` and `grep` find each."""
    _log.info("GPU management enabled · GPU 管理已启用")
    for line in lines(settings, device):
        _log.info("%s", line)


def lines(settings: ServeSettings, device: DeviceBackend) -> Iterator[str]:
    simulated = " (simulated, no GPU)" if device.simulated else ""
    yield (
        f"device {device.name}{simulated}, memory {device.memory().total / 2**30:.4g} GiB; "
        f"idle timeout {shown(settings.idle_timeout)}, unload timeout {shown(settings.unload_timeout)}, "
        f"after task {settings.after_task}"
    )
    if settings.idle_timeout is None:
        yield _without_idle_timeout(settings)
    for name, model in settings.models.items():
        own = ", ".join(_own(model))
        if own:
            yield f"model {name}: {own}"
    yield f"page {page_address(settings.host, settings.port)}"


def page_address(host: str, port: int) -> str:
    """An address to click: a server on all interfaces is reached here through loopback."""
    if host in _ANYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/dormouse/" if ":" in host else f"http://{host}:{port}/dormouse/"


def _without_idle_timeout(settings: ServeSettings) -> str:
    if settings.after_task == "offload":
        return "the idle timeout is switched off: weights leave the GPU after each task, never by idleness"
    if settings.unload_timeout is not None:
        return f"the idle timeout is switched off: weights stay on the GPU until {shown(settings.unload_timeout)} idle"
    return "the idle ladder is switched off: weights that came to the GPU stay there until somebody moves them"


def _own(model: ModelSettings) -> Iterator[str]:
    for what, seconds in (("idle timeout", model.idle_timeout), ("unload timeout", model.unload_timeout)):
        if seconds is not None:
            yield f"{what} {shown(None if math.isinf(seconds) else seconds)}"
    if model.after_task is not None:
        yield f"after task {model.after_task}"
