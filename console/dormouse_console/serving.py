"""Puts the console together from its settings and serves it until stopped."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.settings import PrometheusSettings
from dormouse_webkit.connections import bounded_connections

from .app import create_app
from .callers import Callers, LocalCallers, TokenCallers, loopback_only
from .kube import connect
from .local import kubectl_proxy, through
from .timeseries import TimeSeries

_log = logging.getLogger("dormouse.console")
# 10,000 ManagedModels are 2 MB, and a page has four answers at a time in the chart's 256 Mi.
MAX_ANSWER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """local_key: not empty means local; then `kubectl` and its flags count, and the API server's address doesn't."""

    host: str
    port: int
    api_server: str
    api_server_ca: Path | None
    prometheus: PrometheusSettings | None = None
    local_key: str = field(default="", repr=False)
    kubectl: str = "kubectl"
    kubectl_flags: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """To open in a browser. The key is behind a #, so it never travels and lands in no log."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/" + (f"#key={self.local_key}" if self.local_key else "")


def run(settings: Settings) -> None:
    """Until stopped. Raises SettingsError before anything listens."""
    if not settings.local_key:
        asyncio.run(_serve(settings, None))
        return
    loopback_only(settings.host)
    with kubectl_proxy(settings.kubectl, settings.kubectl_flags) as socket:
        asyncio.run(_serve(settings, socket))


async def _serve(settings: Settings, socket: Path | None) -> None:
    async with AsyncExitStack() as stack:
        callers: Callers
        if socket is not None:
            callers = LocalCallers(await stack.enter_async_context(through(socket)), settings.local_key)
        else:
            connected = connect(settings.api_server, settings.api_server_ca)
            callers = TokenCallers(await stack.enter_async_context(connected))
        prometheus = await stack.enter_async_context(_prometheus(settings.prometheus))
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(callers, prometheus),
                host=settings.host,
                port=settings.port,
                log_level="warning",
                access_log=False,
                http=bounded_connections(),
                server_header=False,
                timeout_keep_alive=30,
                limit_concurrency=200,
                h11_max_incomplete_event_size=32_768,
            )
        )
        # With local_key in it: for the terminal of who started it, and not for a log.
        print(f"The console is at {settings.address}", flush=True)  # noqa: T201
        await server.serve()


@asynccontextmanager
async def _prometheus(settings: PrometheusSettings | None) -> AsyncIterator[TimeSeries]:
    if settings is None:
        _log.warning("No --prometheus-url: the page has no figures over time")
        yield TimeSeries(None)
        return
    if settings.risk:
        _log.warning("%s", settings.risk)
    connection = PrometheusConnection(settings, user_agent="dormouse-console", max_answer_bytes=MAX_ANSWER_BYTES)
    try:
        yield TimeSeries(connection, selector=settings.selector)
    finally:
        await connection.close()
