"""The models of this process and whether it takes requests: all that the server's routes need to know."""

import logging
import threading
from enum import StrEnum
from typing import Any

from dormouse_contract.wire import ModelAdvice, ModelSnapshot

from ..errors import ConfigurationError, DormouseError, NoSuchModel
from .background import LongLived
from .device import Device
from .forking import begins_anew
from .history.advice import advise
from .slot import Slot
from .start_and_end import load_all, unload_all
from .telemetry import Telemetry

_log = logging.getLogger("dormouse")


class NotReady(StrEnum):
    """Why `/readyz` is 503."""

    STARTING = "starting"
    LOADING = "loading"
    LOAD_FAILED = "loadFailed"
    DRAINING = "draining"

    @property
    def heading(self) -> str:
        return "Not ready: a load failed" if self is NotReady.LOAD_FAILED else f"Not ready: {self}"

    @property
    def sentence(self) -> str:
        if self is NotReady.LOAD_FAILED:
            return "A model could not be loaded at start, and the log says why; a request still tries it again"
        return f"The server is {self}; send requests elsewhere, or wait"


class Registry:
    """Slots by name, on one device. Slots are added and never taken away."""

    def __init__(self, device: Device, *, starting: bool = False) -> None:
        self.device = device
        self.telemetry = Telemetry()
        self._slots: dict[str, Slot[Any]] = {}
        self._starting, self._draining = starting, False
        self._preload_begins_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """In a forked child: nothing has been counted here, and nobody loads."""
        self.telemetry.begin_anew()
        for name in self._slots:
            self.telemetry.registered(name)
        self._preload_begins_anew()

    def _preload_begins_anew(self) -> None:
        self._preloading = False
        self._one_preload = threading.Lock()
        self._never_loaded: list[Slot[Any]] = []
        self._preload_thread: LongLived | None = None

    def add(self, slot: Slot[Any]) -> None:
        """Raises `ConfigurationError` when the name is taken."""
        if self._slots.setdefault(slot.name, slot) is not slot:
            raise ConfigurationError(f"a model {slot.name!r} is registered already; choose another name")
        self.telemetry.registered(slot.name)
        slot.begin()

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
        """Load each model into host RAM; none is woken. `/readyz` is 503 until that is done.

        A model without room in host RAM is passed over. One whose load fails keeps the server from being ready until
        it was loaded once, by a request for example. Raises what the first of those raised.
        """
        with self._one_preload:
            self._preloading = True
            try:
                failed = load_all(self.slots(), stopping=lambda: self._draining)
                self._never_loaded = [slot for slot, _ in failed]
            finally:
                self._preloading = False
        if failed:
            raise failed[0][1]

    def preload_in_background(self) -> None:
        """`preload` in a thread: requests that come meanwhile are taken, and wake their model as always."""
        self._preloading = True
        self._preload_thread = LongLived("preload", self._preload_or_say_why)
        self._preload_thread.ensure()

    def _preload_or_say_why(self) -> None:
        try:
            self.preload()
            _log.info("ready: the models are loaded")
        except DormouseError as error:
            _log.error(
                "not ready: a model could not be loaded at start (%s). Requests still wake models as always. "
                "Mend the load and start again",
                error,
            )

    def unload_all(self, within_seconds: float) -> None:
        """The process is about to end; see `start_and_end.unload_all`."""
        unload_all(self.slots(), within_seconds)

    def moves_under_way(self) -> bool:
        """Whether a thread moves a model now."""
        return any(slot.under_way is not None for slot in self.slots())

    def not_ready_because(self) -> NotReady | None:
        """None when requests are taken: asleep, waking and a full GPU included."""
        if self._starting:
            return NotReady.STARTING
        if self._draining:
            return NotReady.DRAINING
        if self._preloading:
            return NotReady.LOADING
        return None if all(slot.view.ever_loaded for slot in self._never_loaded) else NotReady.LOAD_FAILED

    def started(self) -> None:
        """The app takes requests from now on, and `/readyz` says so."""
        self._starting = False

    def drain(self) -> None:
        """Say in `/readyz` that no new requests should come; those that were taken are answered, asleep or not."""
        self._draining = True
