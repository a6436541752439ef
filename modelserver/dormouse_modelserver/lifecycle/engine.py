"""What a slot moves. torch weights in this process are one engine; a server behind a proxy can be another.

An engine knows where its model is and how to move it. It knows nothing of requests, timers or orders: the slot
decides when a move begins, and calls one move at a time, from a thread of that move.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from dormouse_contract import Residency
from dormouse_contract.wire import ReleasedMethod

from .device import Device

T_co = TypeVar("T_co", covariant=True)


@dataclass(slots=True)
class Speed:
    """What the last moves took; None before the first. restore_seconds: the whole wake from host RAM."""

    load_seconds: float | None = None
    restore_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Device bytes measured as given back, how, and what of the model's bytes was not."""

    nbytes: int = 0
    residual: int = 0
    method: ReleasedMethod | None = None


class Fence(Protocol):
    """A point in the work that a use has queued on the device."""

    def done(self) -> bool: ...

    def wait(self) -> None:
        """Block until everything queued before the fence is done."""
        ...


class DoneAlready:
    """The fence of an engine whose uses queue nothing: an answer that is complete leaves no work behind."""

    def done(self) -> bool:
        return True

    def wait(self) -> None:
        pass


class Engine(Protocol[T_co]):
    """One model of one engine. The properties are read at any time, from any thread, and never block.

    An engine may inherit from this; what a method does then, where it needs no code, stands in its last sentence.

    Each move either completes or leaves the model in a whole tier, which `residency` then names; it raises a
    `DormouseError` that says why. Any other exception counts as `TransitionFailed`.
    """

    @property
    def residency(self) -> Residency:
        """Where the model is now, a model that was there before its slot included."""
        ...

    @property
    def device(self) -> Device: ...

    @property
    def model(self) -> T_co:
        """What a use works with. Only for who holds a use."""
        ...

    @property
    def speed(self) -> Speed: ...

    @property
    def dirty(self) -> bool:
        """Whether an unload would lose changes, as found at the last look."""
        ...

    @property
    def changed(self) -> str:
        """What `dirty` is about, by name, for people. Always empty."""
        return ""

    @property
    def moved_apart(self) -> tuple[str, ...]:
        """What of the model is not moved with the rest, or not at all, as `path: reason`. Always empty."""
        return ()

    @property
    def device_bytes(self) -> int:
        """What it takes on the device now."""
        ...

    @property
    def host_bytes(self) -> int:
        """What it takes in host RAM now."""
        ...

    def estimate_seconds(self) -> float | None:
        """Until it is on the GPU from where it is; None until that was measured. Always None."""
        return None

    def admit(self) -> None:
        """Somebody uses the model from now on. Called under the slot's lock: returns at once. Does nothing."""

    def shut(self) -> None:
        """Nobody uses the model any more. Called under the slot's lock: returns at once. Does nothing."""

    def fence(self) -> Fence:
        """Mark what the calling thread has queued on the device; the next move waits for it. Nothing is queued."""
        return DoneAlready()

    def wake(self) -> None:
        """From wherever it is → GPU."""
        ...

    def load(self) -> None:
        """Unloaded → CPU."""
        ...

    def offload(self) -> Released:
        """GPU → CPU. Raises `HostFull` when host RAM has no room for it; it is still on the GPU then."""
        ...

    def unload(self) -> Released:
        """CPU or GPU → Unloaded. Raises `ModelChanged` when changes would be lost; nothing was moved then."""
        ...

    def clean_up(self) -> None:
        """After a move that failed: give back what it left behind. Raises nothing. Does nothing."""
