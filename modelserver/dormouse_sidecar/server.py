"""A running sidecar: both ports, the gate and the way to the model process, in one asyncio loop."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from .control import ControlRoutes
from .gate import Gate
from .identity import Identity
from .listener import Listener
from .plain import PlainRoutes
from .settings import Settings
from .telemetry import Telemetry
from .tls import Door
from .upstream import ModelProcess

_log = logging.getLogger(__name__)


class Sidecar:
    """`async with Sidecar(settings)`: the plain port is open on entry, the control port when it may be.

    Raises PortUnavailable on entry when an address of either port is taken.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model_process = ModelProcess(settings.socket_path)
        telemetry = Telemetry()
        door = Door(Identity.make(settings.pod_uid))
        self.control = Listener(
            "control",
            settings.control_host,
            settings.control_port,
            ControlRoutes(self._model_process, settings.pod_uid),
            settings.limits,
            door,
        )
        self.plain = Listener(
            "plain",
            settings.plain_host,
            settings.plain_port,
            PlainRoutes(self._model_process, telemetry),
            settings.limits,
        )
        self._gate = Gate(settings.trust_dir, door, self.control, telemetry)
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            self.control.bind()
            self.plain.open()
        except BaseException:
            await self._stop()
            raise
        _log.info("metrics and health on %s", self.plain.address)
        self._keeping = asyncio.create_task(self._gate.keep(self._settings.trust_poll_seconds))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        grace = self._settings.stop_grace_seconds
        await asyncio.gather(self.control.stop(grace), self.plain.stop(grace))
        await self._model_process.aclose()
