"""Runs the server: the user's app with our routes in front of it, in one process."""

import importlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ConfigurationError
from .manager import ResidencyManager
from .serve_settings import ServeSettings
from .server.authority import Authority, loopback_authority, token_authority
from .server.install import answer_our_errors
from .server.panel.routes import panel_router
from .server.panel.watch import Watch
from .server.routes import probe_router

_log = logging.getLogger("dormouse")
_PREFIX = "/dormouse"


def run(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT. Raises `ConfigurationError` before anything is served."""
    sys.path.insert(0, str(settings.project_dir))
    with _bind(settings.host, settings.port) as listener:
        manager = ResidencyManager(
            settings.device,
            idle_timeout=settings.idle_timeout,
            unload_timeout=settings.unload_timeout,
            after_task=settings.after_task,
            starting=True,
        )
        try:
            for name, target in settings.models.items():
                manager.register(name, _import(target, "--model"))
            app = _import(settings.app, "--app")(manager) if settings.app else None
            _announce(settings, manager)
            front = _InFront(manager, app, _authority(settings.host))
            with closing(front.watch):
                front.watch.start()
                _Server(manager, front).run(sockets=[listener])
        finally:
            manager.close()
    return 0


class _Server(uvicorn.Server):
    """uvicorn, but `/readyz` tells when the app listens, and that it drains as soon as it is asked to stop."""

    def __init__(self, manager: ResidencyManager, app: ASGIApp) -> None:
        super().__init__(uvicorn.Config(app, access_log=False, log_config=None))
        self._manager = manager

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._manager.started()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in order. uvicorn's own would raise the signal again at the end: status -15, and nothing closed."""
        self._manager.drain()
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


class _InFront:
    """Our routes first; everything else, and the lifespan, is the user's app.

    `/metrics`, `/healthz` and `/readyz` are the app's own where it has them.
    """

    def __init__(self, manager: ResidencyManager, app: ASGIApp | None, authority: Authority) -> None:
        self.watch = Watch(manager, authority.access)
        self._ours = FastAPI(openapi_url=None)
        self._ours.include_router(panel_router(manager, _PREFIX, authority, self.watch))
        self._probes = FastAPI(openapi_url=None)
        self._probes.include_router(probe_router(manager, authority))
        self._app = app if app is not None else _only_the_page()
        if isinstance(self._app, Starlette):
            # A wake that comes too late is a 503 with Retry-After in any app, not its 500.
            answer_our_errors(self._app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path == _PREFIX or path.startswith(f"{_PREFIX}/")):
            await self._ours(scope, receive, send)
        elif scope["type"] == "http" and path in ("/metrics", "/healthz", "/readyz") and not self._app_has(scope):
            await self._probes(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _app_has(self, scope: Scope) -> bool:
        return _has(getattr(self._app, "routes", []), scope)


def _only_the_page() -> ASGIApp:
    """Without an app, `/` leads to the page."""
    app = FastAPI(openapi_url=None)
    app.add_api_route("/", lambda: RedirectResponse(f"{_PREFIX[1:]}/"), include_in_schema=False)
    return app


def _has(routes: list[BaseRoute], scope: Scope) -> bool:
    """Whether one of the routes is meant for this path, as it is or after a redirect to `path/`.

    A site mounted at the root takes every path, but it doesn't have the probes: it would answer them with 404.
    """
    slashed = {**scope, "path": scope["path"] + "/"}
    for route in routes:
        if isinstance(route, Mount) and not route.path:
            if _has(list(route.routes), scope):
                return True
            continue
        asked = (scope, slashed) if isinstance(route, Mount) else (scope,)
        if any(route.matches(one)[0] is Match.FULL for one in asked):
            return True
    return False


def _authority(host: str) -> Authority:
    """Who may change state: without a token only callers of a server that bound itself to loopback."""
    if not _is_loopback(host):
        return token_authority()
    hosts = frozenset({"localhost", "127.0.0.1", "::1", host})
    if os.environ.get("DORMOUSE_PANEL_TOKEN") or os.environ.get("DORMOUSE_SOCKET"):
        return token_authority(hosts)
    return loopback_authority(hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"port {port} on {host} can't be used: {error.strerror}. Choose another with --port, or stop what uses it"
        ) from error
    return listener


def _import(target: str, option: str) -> Callable[..., Any]:
    module_name, separator, attribute = target.partition(":")
    if not separator or not module_name or not attribute:
        raise ConfigurationError(f"{option} {target!r}: write package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{option} {target!r}: no module {error.name!r}. Start in the project's folder or set PROJECT_DIR"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        what = f"has no {attribute!r}" if found is None else f"{attribute!r} is {found!r}, which can't be called"
        raise ConfigurationError(f"{option} {target!r}: module {module_name!r} {what}; name a function")
    return found  # type: ignore[no-any-return]


def _announce(settings: ServeSettings, manager: ResidencyManager) -> None:
    def shown(seconds: float | None) -> str:
        return "never" if seconds is None else f"{seconds:g} s"

    simulated = " (simulated, no GPU)" if manager.device.simulated else ""
    _log.info("GPU management enabled · GPU 管理已启用")
    _log.info(
        "device %s%s; idle timeout %s, unload timeout %s, after task %s",
        manager.device.name,
        simulated,
        shown(settings.idle_timeout),
        shown(settings.unload_timeout),
        settings.after_task,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    _log.info("http://%s:%d%s/", host, settings.port, _PREFIX)
