"""What `serve` writes into its log at the start: what is managed, by which rules, and where to look."""

import logging
from collections.abc import Iterator

from ..lifecycle.registry import Registry
from ..lifecycle.settings import SlotSettings
from .durations import shown
from .serve_settings import ServeSettings

_log = logging.getLogger("dormouse")
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - looked for, not listened on


def announce(settings: ServeSettings, registry: Registry) -> None:
    """One line per fact, so that `docker logs` and `grep` find each."""
    _log.info("GPU management enabled · GPU 管理已启用")
    for line in lines(settings, registry):
        _log.info("%s", line)


def lines(settings: ServeSettings, registry: Registry) -> Iterator[str]:
    device = registry.device
    simulated = " (simulated, no GPU)" if device.simulated else ""
    yield (
        f"device {device.name}{simulated}, memory {device.memory().total / 2**30:.4g} GiB; "
        f"idle timeout {shown(settings.idle_timeout)}, unload timeout {shown(settings.unload_timeout)}, "
        f"after task {settings.after_task}"
    )
    if settings.idle_timeout is None:
        yield _without_idle_timeout(settings)
    for slot in registry.slots():
        yield f"model {slot.name}: {', '.join(_own(slot.view.settings, settings)) or 'as above'}"
    yield f"page {page_address(settings.host, settings.port)}"


def page_address(host: str, port: int) -> str:
    """An address to click: a server on all interfaces is reached here through loopback."""
    if host in _ANYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/dormouse/" if ":" in host else f"http://{host}:{port}/dormouse/"


def _without_idle_timeout(settings: ServeSettings) -> str:
    if settings.behind_sidecar:
        return "behind a sidecar: the operator's policy decides; while it lends none, nothing sleeps by idleness"
    if settings.after_task == "offload":
        return "the idle timeout is switched off: weights leave the GPU after each task, never by idleness"
    if settings.unload_timeout is not None:
        return f"the idle timeout is switched off: weights stay on the GPU until {shown(settings.unload_timeout)} idle"
    return "the idle ladder is switched off: weights that came to the GPU stay there until somebody moves them"


def _own(model: SlotSettings, server: ServeSettings) -> Iterator[str]:
    """What the model has of its own, from its table in the file or from `register()`."""
    if model.idle_timeout_seconds != server.idle_timeout:
        yield f"idle timeout {shown(model.idle_timeout_seconds)}"
    if model.unload_timeout_seconds != server.unload_timeout:
        yield f"unload timeout {shown(model.unload_timeout_seconds)}"
    if model.after_task != server.after_task:
        yield f"after task {model.after_task}"
