"""One port: accepts, counts and limits connections, and can be opened and closed at run time.

It owns its accept loop because everything else comes too late: asyncio's servers show a connection only
after its handshake, so they can neither count nor refuse the ones that never finish it.
"""

import asyncio
import logging
import socket
from collections import Counter
from contextlib import suppress

from dormouse_contract.printable import printable

from .connection import Connection, Handler
from .limits import Limits
from .throttled_log import ThrottledWarning
from .tls import Door

_log = logging.getLogger(__name__)
_BACKLOG = 128
# Accepted in one go before others get their turn.
_ACCEPT_BATCH = 16
# After the process ran out of file descriptors.
_ACCEPT_PAUSE_SECONDS = 0.5
_MAX_QUOTED_CHARACTERS = 200


class PortUnavailable(Exception):
    """The address can't be listened on; the message says which and why."""


class Listener:
    """A port by name. With a `door`, TLS and only for those whom the door admits; without one, plain.

    `bind` takes the address without accepting anything (clients are refused), so that a conflict shows at
    start; `open` and `close` may follow each other any number of times.
    """

    def __init__(
        self, name: str, host: str, port: int, handler: Handler, limits: Limits, door: Door | None = None
    ) -> None:
        self.name = name
        self._host = host
        self._port = port
        self._handler = handler
        self._limits = limits
        self._door = door
        self._socket: socket.socket | None = None
        self._is_open = False
        self._resume: asyncio.TimerHandle | None = None
        self._peers: Counter[str] = Counter()
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._warn = ThrottledWarning(_log)

    @property
    def port(self) -> int:
        """The port itself, also where 0 was asked for."""
        return self._port

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port}"

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def connections(self) -> int:
        """How many are open now, unfinished handshakes included."""
        return len(self._connections)

    def bind(self) -> None:
        """Raises PortUnavailable."""
        if self._socket is not None:
            return
        listening: socket.socket | None = None
        try:
            # A member of an IntEnum is no port to it.
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, int(self._port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind, protocol)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind(address)
        except OSError as error:
            if listening is not None:
                listening.close()
            raise self._unavailable(error) from error
        self._port = listening.getsockname()[1]
        self._socket = listening

    def open(self) -> None:
        """Accept from now on. Raises PortUnavailable; it may be called again then."""
        if self._is_open:
            return
        self.bind()
        assert self._socket is not None  # noqa: S101 - bind() raises otherwise
        try:
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._release()
            raise self._unavailable(error) from error
        self._is_open = True
        self._start_accepting()

    def close(self) -> None:
        """Accept nothing more; what is open goes on, within its limits. The address stays taken."""
        if not self._is_open:
            return
        self._release()
        # If somebody else was faster, open() tells.
        with suppress(PortUnavailable):
            self.bind()

    async def stop(self, grace_seconds: float) -> None:
        """Close for good: answers under way get the grace, everything else ends now."""
        self._release()
        for task, connection in self._connections.items():
            if not connection.answering:
                task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_seconds)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _unavailable(self, error: OSError) -> PortUnavailable:
        return PortUnavailable(
            f"the {self.name} port {self.address} can't be opened: {error.strerror or error}; "
            f"choose another with --{self.name}-host and --{self.name}-port, or stop what uses it"
        )

    def _release(self) -> None:
        self._is_open = False
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _start_accepting(self) -> None:
        self._resume = None
        assert self._socket is not None  # noqa: S101 - _release() cancels the timer that leads here
        asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._warn("%s port: can't accept (%s); trying again shortly", self.name, error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                self._resume = loop.call_later(_ACCEPT_PAUSE_SECONDS, self._start_accepting)
                return
            self._take(accepted, address[0])

    def _take(self, accepted: socket.socket, peer: str) -> None:
        limits = self._limits
        if self._peers[peer] >= limits.max_connections_per_peer:
            self._refuse(accepted, peer, f"it has {limits.max_connections_per_peer} open already")
            return
        if len(self._connections) >= limits.max_connections and not self._cut_off_oldest():
            self._refuse(accepted, peer, f"all {limits.max_connections} connections are being answered")
            return
        accepted.setblocking(False)
        connection = Connection(accepted, self._handler, limits, self._door)
        task = asyncio.get_running_loop().create_task(self._serve(connection, peer))
        self._connections[task] = connection
        self._peers[peer] += 1
        task.add_done_callback(lambda done: self._forget(done, accepted, peer))

    def _refuse(self, accepted: socket.socket, peer: str, why: str) -> None:
        accepted.close()
        if not self._peers[peer]:
            del self._peers[peer]
        self._warn("%s port: refused %s: %s", self.name, peer, why)

    def _cut_off_oldest(self) -> bool:
        """Make room at the cost of the connection that has taken longest to send its request."""
        for task, connection in self._connections.items():
            if not connection.answering and not task.cancelling():
                task.cancel()
                self._warn("%s port: full of unfinished requests; the oldest are cut off", self.name)
                return True
        return False

    def _forget(self, task: asyncio.Task[None], accepted: socket.socket, peer: str) -> None:
        # A task that was cancelled before its first step never came to own the socket.
        accepted.close()
        del self._connections[task]
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s port: a connection ended in a defect of the sidecar", self.name, exc_info=error)

    async def _serve(self, connection: Connection, peer: str) -> None:
        try:
            await connection.serve()
        except TimeoutError:
            self._warn("%s port: cut off %s: too slow", self.name, peer)
        except OSError as error:
            self._warn("%s port: refused %s: %s", self.name, peer, printable(error, _MAX_QUOTED_CHARACTERS))
