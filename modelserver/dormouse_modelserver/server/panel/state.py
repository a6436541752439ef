"""What the page shows, as it travels to it. Of the page alone: nothing else should read it.

Moments travel, not ages (`idleSince`, not `idleSeconds`), and the page counts from `now` on: so a state that
nothing happened to is equal to the one before, and nothing is sent.
"""

from dormouse_contract import Residency
from dormouse_contract.wire import LastTransitionSnapshot, ReleasedMethod, TransitionSnapshot, Wire

from ..authority import Access


class HolderState(Wire):
    """A process on the device; name and bytes are null where the driver doesn't tell."""

    pid: int
    name: str | None
    bytes: int | None
    this_process: bool


class DeviceState(Wire):
    """Bytes of the whole device as whoever keeps its books counts them: NVML, or the account of a simulated one.

    process_bytes: what this process holds. weights_bytes: what the models' weights hold of that. rest_bytes: the
    measured difference, never a guess. Null where the driver can't see this process. holders: null where it lists
    nobody. broken: why the device does nothing any more in this process, null while it works; it is not asked then, so
    what was measured is null.
    """

    name: str
    simulated: bool
    broken: str | None
    total_bytes: int | None
    used_bytes: int | None
    process_bytes: int | None
    weights_bytes: int
    rest_bytes: int | None
    holders: list[HolderState] | None


class NextMove(Wire):
    """What time alone will bring: where to, when (Unix seconds; not after now: due), and since when it is idle."""

    to: Residency
    at: float
    since: float


class UseState(Wire):
    """A use that lasts. since: Unix seconds. where: `file:line` of the user's code. running: whether that runs now."""

    number: int
    since: float
    thread: str
    where: str
    running: bool


class ModelState(Wire):
    """One model. Moments in Unix seconds, timeouts in seconds, null for never.

    idle_since: 0 while in flight. next_move: null when nothing is due, ever. saved_byte_seconds: up to the state's
    `now`. pinned_by_hand: on this page; `pinned` counts the operator's pin as well. lent_until: while an operator
    lends a policy, when that lapses. changed: what an unload would lose, by name. moved_apart: what is not moved with
    the rest, or not at all, as `path: reason`. long_uses: the oldest of those that have
    lasted for a while.
    """

    name: str
    residency: Residency
    transition: TransitionSnapshot | None
    gpu_memory_bytes: int
    host_memory_bytes: int
    released_bytes: int
    released_method: ReleasedMethod | None
    saved_byte_seconds: float
    in_flight: int
    waiting: int
    idle_since: float
    offload_after_seconds: float | None
    unload_after_seconds: float | None
    next_move: NextMove | None
    pinned: bool
    pinned_by_hand: bool
    dirty: bool
    changed: str
    moved_apart: list[str]
    restore_estimate_seconds: float | None
    lent_until: float | None
    recent: list[LastTransitionSnapshot]
    long_uses: list[UseState]


class PanelState(Wire):
    """`GET {prefix}/v1/panel`. started_at: when this server began to count savings."""

    now: float
    started_at: float
    version: str
    access: Access
    not_ready_because: str | None
    host_room_bytes: int
    device: DeviceState
    models: list[ModelState]


class MemorySample(Wire):
    """Device bytes at a moment: in use by everybody, and by this process (null where nobody can tell)."""

    time: float
    used_bytes: int
    process_bytes: int | None


class MemoryHistory(Wire):
    """`GET {prefix}/v1/gpu-memory`: the last hour, oldest first. total_bytes: null on a broken device."""

    every_seconds: float
    total_bytes: int | None
    samples: list[MemorySample]


class PinOrder(Wire):
    """`PUT {prefix}/v1/models/{model}/pin`: pinned by hand, the ladder and pressure leave it where it is."""

    pinned: bool
