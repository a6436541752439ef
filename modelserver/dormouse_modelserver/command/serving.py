"""Runs the server: the user's app with our routes in front of it, in one process."""

import errno
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import closing
from typing import Any

import uvicorn
from dormouse_webkit.connections import bounded_connections
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ConfigurationError
from ..manager import ResidencyManager
from ..server.authority import Authority, loopback_authority, token_authority
from ..server.install import answer_our_errors
from ..server.panel.routes import panel_router
from ..server.panel.watch import Watch
from ..server.routes import probe_router
from .announcement import announce
from .serve_settings import ServeSettings
from .target import find_function, make_app

_log = logging.getLogger("dormouse")
_PREFIX = "/dormouse"
# What the kernel queues while the loop is busy; uvicorn's own default.
_BACKLOG = 2048
# As many descriptors as the system lets the process have, up to this: the usual 1024 are taken by one crowd of
# connections, and then no file of a model can be opened.
_MOST_DESCRIPTORS = 65_536
# What unloading may take at the end; the operating system takes back the rest in any case.
_UNLOAD_SECONDS = 5.0


def run(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT: 0, or 1 when the app's own start-up failed.

    Raises `ConfigurationError` before anything is served.
    """
    sys.path.insert(0, str(settings.project_dir))
    _raise_descriptor_limit()
    with _bind(settings.host, settings.port) as listener:
        manager = ResidencyManager(
            settings.device,
            idle_timeout=settings.idle_timeout,
            unload_timeout=settings.unload_timeout,
            after_task=settings.after_task,
            turn=settings.turn,
            starting=True,
        )
        try:
            _register(manager, settings)
            app = None
            if settings.app is not None:
                create_app = find_function(settings.app, "--app")
                app = make_app(create_app, manager, f"--app {settings.app!r}")
            announce(settings, manager)
            front = _InFront(manager, app, _authority(settings.host))
            with closing(front.watch):
                front.watch.start()
                if settings.preload:
                    manager.preload_in_background()
                server = _Server(manager, front)
                status = _serve(server, listener)
                if not server.force_exit:
                    _unload(manager)
        finally:
            manager.close()
        if manager.moves_under_way():
            _end_at_once(status)
        return status


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _unload(manager: ResidencyManager) -> None:
    """Each model, unless somebody asks once more to stop."""

    def at_once(sig: int, frame: Any) -> None:
        raise _AskedAgain

    before = {sig: signal.signal(sig, at_once) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        manager.unload_all(_UNLOAD_SECONDS)
    except _AskedAgain:
        _log.info("stopping at once: models that are loaded end with the process")
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


class _AskedAgain(Exception):
    pass


def _end_at_once(status: int) -> None:
    """A thread that is inside torch while Python takes itself apart ends the process with SIGABRT."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve(server: "_Server", listener: socket.socket) -> int:
    try:
        server.run(sockets=[listener])
    except SystemExit:
        # Some versions of uvicorn end so when the app's start-up fails, others return.
        if server.started:
            raise
    if not server.started:
        _log.error("the app's own start-up failed, see above; nothing was served")
    return 0 if server.started else 1


def _register(manager: ResidencyManager, settings: ServeSettings) -> None:
    for name, model in settings.models.items():
        manager.register(
            name,
            find_function(model.load, f"model {name}:"),
            idle_timeout=model.idle_timeout,
            unload_timeout=model.unload_timeout,
            after_task=model.after_task,
            turn=model.turn,
        )


class _Server(uvicorn.Server):
    """uvicorn, but `/readyz` tells when the app listens, and that it drains as soon as it is asked to stop."""

    def __init__(self, manager: ResidencyManager, app: ASGIApp) -> None:
        super().__init__(uvicorn.Config(app, access_log=False, log_config=None, http=bounded_connections()))
        self._manager = manager

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._manager.started()
            waits = self._manager.not_ready_because() is not None
            _log.info("requests are taken; ready when the models are loaded" if waits else "ready: requests are taken")

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in order. uvicorn's own would raise the signal again at the end: status -15, and nothing closed."""
        self._manager.drain()
        _log.info("stopping: running requests are answered first; Ctrl-C once more stops at once")
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
    # With the protocol named: asyncio switches Nagle's algorithm off only then, and with it on each answer on a kept
    # connection waits 40 ms for the client's delayed acknowledgement (measured).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Now, not when the models are registered: two that start at once must not both believe to have the port.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"port {port} on {host} can't be used: {_port_problem(host, error)}") from error
    return listener


def _port_problem(host: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "something listens there already. Choose another with --port, or stop what uses it"
    if error.errno == errno.EACCES:
        return "ports below 1024 need rights that this user has not. Choose another with --port"
    return f"{error.strerror}. Check --host: it is {host!r}"
