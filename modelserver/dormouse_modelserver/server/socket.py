"""The control socket for the sidecar: served from a thread and loop of its own, whatever the app does."""

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from ..errors import ConfigurationError
from ..lifecycle.background import LongLived
from ..lifecycle.registry import Registry
from .authority import anyone
from .routes import control_router, probe_router

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


def serve_socket(registry: Registry, path: str) -> Callable[[], None]:
    """Serve until the returned function is called. Raises `ConfigurationError` when another process serves it."""
    listener = _listen(Path(path))
    app = FastAPI(openapi_url=None)
    app.include_router(control_router(registry, "/dormouse", anyone, with_advice=False))
    app.include_router(probe_router(registry))
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning", timeout_graceful_shutdown=2)
    server, started, closed = uvicorn.Server(config), threading.Event(), threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(started.set)
        await server.serve(sockets=[listener])

    def work() -> None:
        nonlocal server, listener
        if listener.fileno() == -1:  # uvicorn closes it when it ends
            listener = _listen(Path(path))
        asyncio.run(serve())
        if not closed.is_set():
            server = uvicorn.Server(config)
            raise RuntimeError(f"the server of {path} ended by itself")

    # A daemon: an app that ends without closing the manager must not hang on it.
    thread = LongLived("socket", work)
    thread.ensure()
    if thread.runs:
        started.wait(_START_SECONDS)

    opened_by = os.getpid()

    def close() -> None:
        closed.set()
        if os.getpid() != opened_by:  # a forked child: the socket is the parent's, which goes on serving
            listener.close()
            return
        server.should_exit = True
        thread.close(_STOP_SECONDS)
        Path(path).unlink(missing_ok=True)

    return close


def _listen(path: Path) -> socket.socket:
    """Bind under a temporary name and rename: the path is never there without a listener behind it."""
    if path.is_socket() and _answers(path):
        raise ConfigurationError(
            f"another model process serves {path}; one process per socket. "
            "Set DORMOUSE_SOCKET to another path for this one"
        )
    if path.exists() and not path.is_socket():
        raise ConfigurationError(
            f"the control socket {path} can't be made: something else is there, and it is left as it is. "
            "Set DORMOUSE_SOCKET to another path"
        )
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        # The sidecar runs as another user of the pod's shared group (fsGroup).
        fresh.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP)
        listener.listen(64)
        fresh.rename(path)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"the control socket {path} can't be made: {error.strerror or error}. Check DORMOUSE_SOCKET"
        ) from error
    return listener


def _answers(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(2)
    try:
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        # Its queue is full, or it is another user's: somebody is there.
        return True
    finally:
        probe.close()
    return True
