"""The models of this process and whether it takes requests: all that the server's routes need to know."""

from typing import Any

from dormouse_contract.wire import ModelAdvice, ModelSnapshot

from ..errors import ConfigurationError, NoSuchModel
from .device import Device
from .history.advice import advise
from .slot import Slot
from .telemetry import Telemetry


class Roster:
    """Slots by name, on one device. Slots are added and never taken away."""

    def __init__(self, device: Device, *, starting: bool = False) -> None:
        self.device = device
        self.telemetry = Telemetry()
        self._slots: dict[str, Slot[Any]] = {}
        self._starting, self._draining = starting, False

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

    def not_ready_because(self) -> str | None:
        """None when requests are taken: asleep, waking and a full GPU included."""
        return "starting" if self._starting else "draining" if self._draining else None

    def started(self) -> None:
        """The app takes requests from now on, and `/readyz` says so."""
        self._starting = False

    def drain(self) -> None:
        """Say in `/readyz` that no new requests should come; those that were taken are answered, asleep or not."""
        self._draining = True
