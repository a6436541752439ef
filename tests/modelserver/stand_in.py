"""An engine of some twenty lines, without torch: what a slot needs of an engine, and no more."""

from typing import Any

from dormouse_contract import Residency
from dormouse_modelserver.lifecycle.device import DeviceMemory, Occupancy
from dormouse_modelserver.lifecycle.engine import Engine, Released, Speed


class StandIn(Engine[str]):
    """Moves at once. fails: raised by the next wake."""

    model, device_bytes, host_bytes, dirty = "the model", 0, 0, False
    residency, speed = Residency.UNLOADED, Speed()
    device: Any = None

    def __init__(self, residency: Residency = Residency.UNLOADED) -> None:
        self.residency, self.device, self.moves = residency, StandInDevice(), list[Residency]()
        self.fails: Exception | None = None

    def _to(self, residency: Residency) -> Released:
        self.moves.append(residency)
        self.residency = residency
        return Released(100, 0, "sim")

    def wake(self) -> None:
        if self.fails is not None:
            raise self.fails
        self._to(Residency.GPU)

    def load(self) -> None:
        self._to(Residency.CPU)

    def offload(self) -> Released:
        return self._to(Residency.CPU)

    def unload(self) -> Released:
        return self._to(Residency.UNLOADED)


class StandInDevice:
    name, gpu_uuid, simulated, broken = "sim-stand-in", "sim-stand-in", True, None

    def examine(self) -> None: ...

    def memory(self) -> DeviceMemory:
        return DeviceMemory(1000, 100, 100)

    def occupancy(self) -> Occupancy:
        return Occupancy(1000, 100, 100, None)
