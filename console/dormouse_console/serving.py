"""Puts the console together from its settings and serves it until stopped."""

import asyncio
import logging
from collections.abc import Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn

from .app import create_app
from .callers import Callers, LocalCallers, TokenCallers, loopback_only
from .errors import SettingsError
from .kube import connect
from .local import kubectl_proxy, through
from .prometheus import Prometheus

_log = logging.getLogger("dormouse.console")
# A month of a large fleet is more work for Prometheus than a look at the present.
PROMETHEUS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """local_key: not empty means local; then `kubectl` and its flags count, and the API server's address doesn't."""

    host: str
    port: int
    api_server: str
    api_server_ca: Path | None
    prometheus_url: str = ""
    prometheus_token_file: Path | None = None
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
        prometheus = Prometheus(await _prometheus(stack, settings))
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(callers, prometheus),
                host=settings.host,
                port=settings.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=30,
                limit_concurrency=200,
                h11_max_incomplete_event_size=32_768,
            )
        )
        # With local_key in it: for the terminal of who started it, and not for a log.
        print(f"The console is at {settings.address}", flush=True)  # noqa: T201
        await server.serve()


async def _prometheus(stack: AsyncExitStack, settings: Settings) -> httpx.AsyncClient | None:
    url = settings.prometheus_url
    if not url:
        _log.warning("No --prometheus-url: the page has no figures over time")
        return None
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"--prometheus-url is {url!r}; write its address, for example http://prometheus:9090")
    auth = None if settings.prometheus_token_file is None else _TokenFile(settings.prometheus_token_file)
    client = httpx.AsyncClient(base_url=f"{url.rstrip('/')}/", auth=auth, timeout=PROMETHEUS_SECONDS, trust_env=False)
    return await stack.enter_async_context(client)


class _TokenFile(httpx.Auth):
    """Read for each query: a token that was renewed counts at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._path.read_text().strip()}"
        yield request
