"""A reservation keeps its address: memory behind it from one arena to the next, nothing lost on the way."""

import ctypes
import functools
import threading
from collections.abc import Iterator

import pytest
import torch
from dormouse_modelserver import CopyFailed, DeviceFull
from dormouse_modelserver.engines.torch.device import Reservation
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults

from .test_many_cycles import resident_bytes

# More than two of the pieces that memory is taken in, and no multiple of them.
_NBYTES = (40 << 20) + 24


@pytest.fixture
def reservation(device: SimDevice) -> Iterator[Reservation]:
    reservation = device.reserve(_NBYTES)
    yield reservation
    reservation.close()
    assert device.memory().used == 0


@functools.cache
def weights() -> torch.Tensor:
    return torch.randint(0, 256, (_NBYTES,), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_fifty_arenas_have_one_address_and_the_bytes_put_into_each(device: SimDevice, reservation: Reservation) -> None:
    addresses = set()
    for _ in range(50):
        arena = reservation.allocate()
        assert device.memory().used == _NBYTES
        addresses.add(arena.bytes.data_ptr())
        device.copy_in(weights(), arena)
        assert torch.equal(arena.bytes, weights())
        arena.close()
        assert device.memory().used == 0
    assert len(addresses) == 1


def test_a_range_without_memory_keeps_its_address_from_everybody_else(
    device: SimDevice, reservation: Reservation
) -> None:
    first = reservation.allocate()
    start = first.bytes.data_ptr()
    first.close()
    others = [device.reserve(1 << 20).allocate() for _ in range(20)]
    assert not any(start <= other.bytes.data_ptr() < start + _NBYTES for other in others)
    for other in others:
        other.close()


def test_the_host_gets_the_pages_of_a_closed_arena_back(reservation: Reservation) -> None:
    before = resident_bytes()
    arena = reservation.allocate()
    arena.bytes.fill_(1)
    assert resident_bytes() - before > _NBYTES * 3 // 4
    arena.close()
    assert resident_bytes() - before < _NBYTES // 4
    assert not reservation.allocate().bytes.any(), "nothing of it was kept elsewhere either"


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        pytest.param(SimFaults(fail_map_at_byte=0), CopyFailed, id="mapping fails at once"),
        pytest.param(SimFaults(fail_map_at_byte=_NBYTES // 2), CopyFailed, id="mapping fails half-way"),
        pytest.param(SimFaults(fail_map_at_byte=_NBYTES - 1), CopyFailed, id="mapping fails at the last byte"),
        pytest.param(SimFaults(full_at_byte=1000), DeviceFull, id="no room"),
    ],
)
def test_a_mapping_that_fails_holds_nothing_and_the_next_one_works(
    device: SimDevice, reservation: Reservation, faults: SimFaults, error: type[Exception]
) -> None:
    device.faults = faults
    for _ in range(3):
        with pytest.raises(error):
            reservation.allocate()
        assert device.memory().used == 0
    device.faults = SimFaults()
    arena = reservation.allocate()
    device.copy_in(weights(), arena)
    assert torch.equal(arena.bytes, weights())


def test_a_device_that_is_full_half_way_says_what_room_there_was_and_works_when_there_is(
    device: SimDevice, reservation: Reservation
) -> None:
    other = device.allocate(30 << 20)
    with pytest.raises(DeviceFull) as full:
        reservation.allocate()
    assert (full.value.need_bytes, full.value.room_bytes) == (_NBYTES, 34 << 20)
    assert device.memory().used == 30 << 20
    other.close()
    assert reservation.allocate().bytes.numel() == _NBYTES


def test_memory_is_not_taken_away_under_queued_work(device: SimDevice, reservation: Reservation) -> None:
    arena = reservation.allocate()
    arena.bytes.fill_(7)
    seen: list[int] = []
    go, last = threading.Event(), arena.bytes.data_ptr() + _NBYTES - 1
    device.run_late(lambda: go.wait(30), aside=True)
    device.run_late(lambda: seen.append(ctypes.c_uint8.from_address(last).value), aside=True)
    closing = threading.Thread(target=arena.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    assert device.memory().used == _NBYTES
    go.set()
    closing.join(30)
    assert seen == [7]
    assert device.memory().used == 0


def test_one_arena_at_a_time_and_none_after_the_end(device: SimDevice) -> None:
    reservation = device.reserve(_NBYTES)
    arena = reservation.allocate()
    with pytest.raises(RuntimeError, match="open arena"):
        reservation.allocate()
    reservation.close()
    assert device.memory().used == 0
    with pytest.raises(RuntimeError, match="closed"):
        _ = arena.bytes
    with pytest.raises(RuntimeError, match="closed"):
        reservation.allocate()
    arena.close()
    reservation.close()
    assert device.memory().used == 0


def test_a_model_without_weights_has_an_arena_without_bytes(device: SimDevice) -> None:
    reservation = device.reserve(0)
    arena = reservation.allocate()
    assert (arena.bytes.numel(), device.memory().used) == (0, 0)
    reservation.close()
