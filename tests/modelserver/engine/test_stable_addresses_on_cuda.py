"""The calls to the CUDA driver, in order and when any of them fails. What a GPU does with them is checked on one
(benchmarks/gpu/checks/stable_addresses.py)."""

import ctypes
import sys
import threading
from collections.abc import Callable

import pytest
import torch
from dormouse_modelserver import ConfigurationError, CopyFailed, DeviceFull
from dormouse_modelserver.engines.torch.cuda.device import CudaDevice
from dormouse_modelserver.engines.torch.cuda.driver import CudaDriver, load_driver
from dormouse_modelserver.engines.torch.cuda.health import CudaHealth
from dormouse_modelserver.engines.torch.cuda.reservation import CudaReservation

real = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings comes with torch from 2.12 on")
from .fake_cuda_driver import GRANULARITY_BYTES, OUT_OF_MEMORY, FakeCudaDriver  # noqa: E402

_PIECE = 4 * GRANULARITY_BYTES
# Three pieces, the last one short, and not a multiple of the granularity.
_NBYTES = 2 * _PIECE + GRANULARITY_BYTES + 100
_MAPPED = 2 * _PIECE + 2 * GRANULARITY_BYTES
_REFUSED = real.CUresult.CUDA_ERROR_NOT_PERMITTED


def host_view(address: int, nbytes: int) -> torch.Tensor:
    return torch.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), dtype=torch.uint8)


def reserve(
    fake: FakeCudaDriver, nbytes: int = _NBYTES, view: Callable[[int, int], torch.Tensor] = host_view
) -> CudaReservation:
    return CudaReservation(CudaDriver(fake, "cuda:1", 1), nbytes, view, piece_bytes=_PIECE)


@pytest.fixture
def fake() -> FakeCudaDriver:
    return FakeCudaDriver(capacity_bytes=10 * _PIECE)


def test_fifty_arenas_from_fifty_threads_have_one_address_and_leave_nothing(fake: FakeCudaDriver) -> None:
    reservation = reserve(fake)
    addresses: list[int] = []

    def cycle() -> None:
        arena = reservation.allocate()
        assert fake.accessible == set(fake.mapped)
        assert fake.used_bytes == _MAPPED
        arena.bytes.fill_(len(addresses))
        addresses.append(arena.bytes.data_ptr())
        assert arena.bytes.numel() == _NBYTES
        arena.close()

    for _ in range(50):
        thread = threading.Thread(target=cycle)
        thread.start()
        thread.join()
    assert len(addresses) == 50
    assert len(set(addresses)) == 1
    assert (fake.used_bytes, fake.mapped, len(fake.ranges)) == (0, {}, 1)
    reservation.close()
    assert fake.ranges == {}
    assert fake.contexts == [], "no thread keeps a context that it did not have"


def test_queued_kernels_end_before_memory_is_unmapped(fake: FakeCudaDriver) -> None:
    reservation = reserve(fake)
    arena = reservation.allocate()
    fake.kernels_queued = True
    fake.log.clear()
    arena.close()
    assert fake.log == [
        "cuCtxPushCurrent", "cuCtxSynchronize", *3 * ["cuMemUnmap", "cuMemRelease"], "cuCtxPopCurrent",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [pytest.param(OUT_OF_MEMORY, id="no memory"), pytest.param(_REFUSED, id="refused")])
@pytest.mark.parametrize(
    ("function", "nth"),
    [
        *(("cuMemCreate", n) for n in (1, 2, 3)),
        *(("cuMemMap", n) for n in (1, 2, 3)),
        ("cuMemSetAccess", 1),
    ],
)
def test_a_failure_at_any_call_gives_everything_back_and_the_next_try_works(
    fake: FakeCudaDriver, function: str, nth: int, error: object
) -> None:
    reservation = reserve(fake)
    fake.fail[function, nth] = error
    with pytest.raises(DeviceFull if error is OUT_OF_MEMORY else CopyFailed) as failed:
        reservation.allocate()
    assert (fake.used_bytes, fake.handles, fake.mapped, fake.contexts) == (0, {}, {}, [])
    if isinstance(failed.value, DeviceFull):
        assert (failed.value.need_bytes, failed.value.room_bytes) == (_MAPPED, fake.capacity_bytes)
    else:
        assert f"cuda:1: the CUDA driver refused {function} (CUDA_ERROR_NOT_PERMITTED)" in str(failed.value)
    arena = reservation.allocate()
    assert arena.bytes.fill_(5).sum() == 5 * _NBYTES
    arena.close()
    reservation.close()
    assert (fake.used_bytes, fake.ranges) == (0, {})


def test_a_device_that_is_full_half_way_says_its_room(fake: FakeCudaDriver) -> None:
    other, reservation = reserve(fake, 8 * _PIECE), reserve(fake)
    arena = other.allocate()
    with pytest.raises(DeviceFull) as full:
        reservation.allocate()
    assert (full.value.device, full.value.need_bytes, full.value.room_bytes) == ("cuda:1", _MAPPED, 2 * _PIECE)
    assert fake.used_bytes == 8 * _PIECE
    arena.close()
    assert reservation.allocate().bytes.numel() == _NBYTES


@pytest.mark.parametrize(
    ("function", "nth"),
    [("cuCtxSynchronize", 1), *(("cuMemUnmap", n) for n in (1, 2, 3)), *(("cuMemRelease", n) for n in (1, 2, 3))],
)
@pytest.mark.parametrize("then", ["allocate", "close"])
def test_what_could_not_be_given_back_is_given_back_the_next_time(
    fake: FakeCudaDriver, function: str, nth: int, then: str
) -> None:
    reservation = reserve(fake)
    arena = reservation.allocate()
    address = arena.bytes.data_ptr()
    fake.fail[function, nth] = _REFUSED
    with pytest.raises(CopyFailed, match=rf"refused {function} \(CUDA_ERROR_NOT_PERMITTED\)"):
        arena.close()
    assert fake.used_bytes > 0
    with pytest.raises(RuntimeError, match="closed"):
        _ = arena.bytes
    if then == "allocate":
        again = reservation.allocate()
        assert (again.bytes.data_ptr(), fake.used_bytes) == (address, _MAPPED)
    reservation.close()
    assert (fake.used_bytes, fake.handles, fake.mapped, fake.ranges) == (0, {}, {}, {})


def test_a_rollback_that_fails_as_well_tells_both_and_is_made_up_for(fake: FakeCudaDriver) -> None:
    reservation = reserve(fake)
    fake.fail["cuMemMap", 3] = _REFUSED
    fake.fail["cuMemUnmap", 1] = _REFUSED
    with pytest.raises(CopyFailed, match="cuMemMap") as failed:
        reservation.allocate()
    assert "cuMemUnmap" in failed.value.__notes__[0]
    assert fake.used_bytes == _PIECE
    reservation.allocate().close()
    assert fake.used_bytes == 0


def test_a_copy_instead_of_a_view_is_noticed_and_given_back(fake: FakeCudaDriver) -> None:
    reservation = reserve(fake, view=lambda address, nbytes: host_view(address, nbytes).clone())
    with pytest.raises(RuntimeError, match="copy"):
        reservation.allocate()
    assert fake.used_bytes == 0


def test_a_range_that_can_not_be_freed_is_tried_again(fake: FakeCudaDriver) -> None:
    reservation = reserve(fake)
    fake.fail["cuMemAddressFree", 1] = _REFUSED
    with pytest.raises(CopyFailed, match="cuMemAddressFree"):
        reservation.close()
    reservation.close()
    reservation.close()
    assert (fake.ranges, fake.calls["cuMemAddressFree"]) == ({}, 2)


def test_a_model_without_weights_still_has_a_range(fake: FakeCudaDriver) -> None:
    reservation = reserve(fake, 0)
    assert reservation.allocate().bytes.numel() == 0
    reservation.close()
    assert (fake.used_bytes, fake.ranges) == (0, {})


def test_a_gpu_that_can_not_map_says_so_before_anything_is_reserved() -> None:
    fake = FakeCudaDriver(capacity_bytes=1 << 30, can_map=False)
    with pytest.raises(ConfigurationError, match="without stable_addresses"):
        reserve(fake)
    assert fake.ranges == {}


def test_a_missing_numpy_is_named_before_anything_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    device = object.__new__(CudaDevice)  # there is no GPU to open
    device._driver, device.health = None, CudaHealth("cuda:0", torch.device("cuda", 0))
    with pytest.raises(ConfigurationError, match="pip install numpy"):
        device.reserve(_NBYTES)
    assert device._driver is None


def test_missing_bindings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(ConfigurationError, match="pip install cuda-bindings"):
        load_driver()
