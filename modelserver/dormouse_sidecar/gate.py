"""Opens the control port while there is somebody to trust, and closes it when there is nobody.

The mounted folder gives no reliable notice of a change, so it is read again every second. What should be
(who is admitted, open or closed) is worked out anew each time, so a step that failed is simply repeated,
and a certificate that expires is a change like any other.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from .listener import Listener, PortUnavailable
from .telemetry import Telemetry
from .throttled_log import ThrottledWarning
from .tls import Door
from .trust import Anchor, FolderContent, Trust, parse, read_folder

_log = logging.getLogger(__name__)


class Gate:
    """Keeps door and listener in step with the folder. `clock` gives Unix seconds."""

    def __init__(
        self,
        folder: Path,
        door: Door,
        listener: Listener,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._door = door
        self._listener = listener
        self._telemetry = telemetry
        self._clock = clock
        self._content = FolderContent()
        self._trust = Trust()
        self._warn = ThrottledWarning(_log)

    async def keep(self, every_seconds: float) -> None:
        """For ever. A defect closes the port rather than leaving old trust in force."""
        _log.info(
            "the control port %s stays closed until a certificate is in %s",
            self._listener.address,
            self._folder,
        )
        while True:
            try:
                self.apply(await asyncio.to_thread(read_folder, self._folder))
            except Exception:
                self._shut()
                _log.exception("the trust in %s can't be judged; the control port is closed", self._folder)
            await asyncio.sleep(every_seconds)

    def apply(self, content: FolderContent) -> None:
        """Make what the folder says the truth."""
        if content != self._content:
            self._trust = parse(content)
            self._content = content
            for fault in self._trust.faults:
                _log.warning("trust: %s", fault)
        self._telemetry.trust_expiry = self._trust.latest_expiry
        usable = self._trust.usable_at(self._clock())
        if not usable:
            self._shut()
        elif frozenset(anchor.der for anchor in usable) != self._door.admitted:
            self._door.admit_only(usable)
            _log.info("trusted: %s", "; ".join(_described(anchor) for anchor in usable))
        if usable and not self._listener.is_open:
            self._open()

    def _open(self) -> None:
        try:
            self._listener.open()
        except PortUnavailable as error:
            self._warn("%s; trying again", error)
        else:
            _log.info("the control port %s is open", self._listener.address)

    def _shut(self) -> None:
        # The door first: whatever is connected already is refused from here on.
        self._door.admit_only(())
        if self._listener.is_open:
            self._listener.close()
            _log.warning(
                "the control port %s is closed: no usable certificate is in %s. The model process goes on; "
                "it opens again when the operator's certificate is there",
                self._listener.address,
                self._folder,
            )


def _described(anchor: Anchor) -> str:
    until = datetime.fromtimestamp(anchor.expires_at, UTC)
    return f"{anchor.subject} until {until:%Y-%m-%d %H:%M} UTC"
