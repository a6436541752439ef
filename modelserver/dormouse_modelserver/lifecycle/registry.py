"""The models of this process and whether it takes requests: all that the server's routes need to know."""

import logging
import threading
from typing import Any

from dormouse_contract.wire import ModelAdvice, ModelSnapshot

from ..errors import ConfigurationError, DormouseError, NoSuchModel
from .device import Device
from .history.advice import advise
from .slot import Slot
from .start_and_end import load_all, unload_all
from .telemetry import Telemetry

_log = logging.getLogger("dormouse")


class Registry:
    """Slots by name, on one device. Slots are added and never taken away."""

    def __init__(self, device: Device, *, starting: bool = False) -> None:
        self.device = device
        self.telemetry = Telemetry()
        self._slots: dict[str, Slot[Any]] = {}
        self._starting, self._preloading, self._draining = starting, False, False

    def add(self, slot: Slot[Any]) -> None:
        """Raises `ConfigurationError` when the name is taken."""
        if self._slots.setdefault(slot.name, slot) is not slot:
            raise ConfigurationError(f"a model {slot.name!r} is registered already; choose another name")
        self.telemetry.registered(slot.name)

    def slot(self, name: str) -> Slot[Any]:
        """Raises `NoSuchModel`."""
        try:
            return self._slots[name]
        except KeyError:
            raise NoSuchModel(name, list(self._slots)) from None

    def slots(self) -> tuple[Slot[Any], ...]:
        return tuple(self._slots.values())

    def snapshots(self) -> list[ModelSnapshot]:
        return [slot.view.snapshot() for slot in self.slots()]

    def advice(self) -> dict[str, ModelAdvice]:
        """For each model: which idle timeout suits it, and what others would have done."""
        return {slot.name: advise(slot.view.observed()) for slot in self.slots()}

    def preload(self) -> None:
        """Load each model into host RAM; none is woken. `/readyz` is 503 until that has succeeded.

        Raises what the first load that failed raised, `LoadFailed` for example; those after it are not loaded.
        """
        self._preloading = True
        load_all(self.slots())
        self._preloading = False

    def preload_in_background(self) -> None:
        """`preload` in a thread: requests that come meanwhile are taken, and wake their model as always."""
        self._preloading = True
        threading.Thread(target=self._preload_or_say_why, name="dormouse-preload", daemon=True).start()

    def _preload_or_say_why(self) -> None:
        try:
            self.preload()
        except DormouseError as error:
            _log.error(
                "not ready: a model could not be loaded at start (%s). Requests still wake models as always. "
                "Mend the load and start again",
                error,
            )

    def unload_all(self, within_seconds: float) -> None:
        """The process is about to end; see `start_and_end.unload_all`."""
        unload_all(self.slots(), within_seconds)

    def not_ready_because(self) -> str | None:
        """None when requests are taken: asleep, waking and a full GPU included."""
        if self._starting:
            return "starting"
        if self._draining:
            return "draining"
        return "loading" if self._preloading else None

    def started(self) -> None:
        """The app takes requests from now on, and `/readyz` says so."""
        self._starting = False

    def drain(self) -> None:
        """Say in `/readyz` that no new requests should come; those that were taken are answered, asleep or not."""
        self._draining = True
