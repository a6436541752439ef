"""Puts the console together from its settings and serves it until stopped."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.settings import PrometheusSettings
from dormouse_webkit.connections import bounded_connections

from .app import create_app
from .callers import Callers, LocalCallers, TokenCallers, loopback_only
from .errors import SettingsError
from .health import Health
from .kube import connect
from .local import kubectl_proxy, through
from .timeseries import TimeSeries

_log = logging.getLogger("dormouse.console")
# 10,000 ManagedModels are 2 MB, and a page has four answers at a time in the chart's 256 Mi.
MAX_ANSWER_BYTES = 8 << 20
# One request at a time on each. Above it, those without a whole request make room, then those that are idle.
MOST_CONNECTIONS = 512
# Taken at once, so fewer than that: each has its turn to be read before it could make room for another.
BACKLOG = 128
MOST_PROBES = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """local_key: not empty means local; then `kubectl` and its flags count, and the API server's address doesn't.

    health_port: 0 for none.
    """

    host: str
    port: int
    api_server: str
    api_server_ca: Path | None
    prometheus: PrometheusSettings | None = None
    health_port: int = 0
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
                http=bounded_connections(MOST_CONNECTIONS, with_body=True),
                server_header=False,
                timeout_keep_alive=30,
                backlog=BACKLOG,
                h11_max_incomplete_event_size=32_768,
            )
        )
        if settings.health_port:
            await stack.enter_async_context(_health(settings.health_port))
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


@asynccontextmanager
async def _health(port: int) -> AsyncIterator[None]:
    """On a listener of its own, so that whoever takes all connections of the page does not have it restarted.

    Raises SettingsError for a port that is taken.
    """
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        listener = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise SettingsError(f"--health-port {port} can't be listened on: {error.strerror or error}") from error
    server = _Beside(
        uvicorn.Config(
            Health(),
            log_level="warning",
            access_log=False,
            lifespan="off",
            http=bounded_connections(MOST_PROBES, with_body=True),
            server_header=False,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=4096,
        )
    )
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


class _Beside(uvicorn.Server):
    """Leaves the signals to the server that it is beside."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
