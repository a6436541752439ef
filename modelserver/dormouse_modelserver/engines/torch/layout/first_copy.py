"""The first copy of freshly loaded weights: into host RAM, or straight to the device where that has no room for it.

Both let go of what they have copied as they go; so whatever stops them, the model that was loaded is spoilt.
"""

from contextlib import nullcontext

from ....lifecycle.room.host_budget import HostBudget, Promise
from ..checks.checksum import checksum_at_any_price, combined
from ..device import Arena, DeviceBackend, HostBuffer
from .filling import STRETCH_BYTES, Filling


def to_host(
    device: DeviceBackend, host: HostBudget, filling: Filling, promise: Promise | None
) -> tuple[HostBuffer, int]:
    """A mirror with all of it, and its checksum. Raises `HostFull` or `OSError`.

    promise: of room for all of it; without one, room is asked for stretch by stretch, as what was loaded is let go.
    """
    mirror = device.host_buffer(filling.packing.total_bytes, pinned=False)
    sums: list[int] = []
    try:
        for start, end in filling.stretches():
            with host.promised(end - start) if promise is None else nullcontext():
                sums += filling.fill(start, end, mirror.bytes[start:end])
            if promise is not None:
                promise.written(end - start)
            filling.let_go(end)
        mirror.pin()
    except BaseException:
        mirror.close()
        raise
    return mirror, combined(sums)


def to_device(device: DeviceBackend, host: HostBudget, filling: Filling, arena: Arena) -> bool:
    """Through a small buffer; False when other bytes arrived, and the arena is closed then.

    Raises `HostFull`, `CopyFailed` or `OSError`; it is closed then too.
    """
    nbytes = min(STRETCH_BYTES, filling.packing.total_bytes)
    try:
        with host.promised(nbytes):
            staging = device.host_buffer(nbytes)
            try:
                arrived = all(_copied(device, filling, staging, arena, *stretch) for stretch in filling.stretches())
            finally:
                staging.close()
    except BaseException:
        arena.close()
        raise
    if not arrived:
        arena.close()
    return arrived


def _copied(device: DeviceBackend, filling: Filling, staging: HostBuffer, arena: Arena, start: int, end: int) -> bool:
    stage = staging.bytes[: end - start]
    sums = filling.fill(start, end, stage)
    device.copy_in(stage, arena, at=start)
    filling.let_go(end)
    # Not `DeviceFull` if it can't be summed there: what was filled from has been let go, so it can't be tried again.
    return checksum_at_any_price(device.checksum, arena.bytes[start:end]) == combined(sums)
