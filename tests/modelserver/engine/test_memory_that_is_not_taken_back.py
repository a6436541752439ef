"""The device refuses to take an arena's memory back: the weights are whole in host RAM all the same, and say so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import CopyFailed, LoadFailed
from dormouse_modelserver.engines.torch.device import Arena
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.odd_zoo import sparse
from tests.modelserver.zoo import X, seeded

from .sharing_models import Family
from .using import held, on_gpu, weights_on

load = seeded(lambda: nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8), sparse(torch.sparse_coo)))


class RefusingArena:
    def __init__(self, arena: Arena, device: "Refusing") -> None:
        self._arena: Arena | None = arena
        self._device = device

    @property
    def bytes(self) -> torch.Tensor:
        assert self._arena is not None
        return self._arena.bytes

    def close(self) -> None:
        arena, self._arena = self._arena, None
        if arena is not None:
            if self._device.refuses:
                self._device.not_taken_back.append(arena)
                raise CopyFailed("sim: the driver refused cuMemUnmap")
            arena.close()


class Refusing(SimDevice):
    """As `Arena.close` says: it raises, the arena is closed, and the memory is still taken."""

    def __init__(self) -> None:
        super().__init__("sim", 64 << 20)
        self.refuses = False
        self.not_taken_back: list[Arena] = []

    def allocate(self, nbytes: int) -> Arena:
        return RefusingArena(super().allocate(nbytes), self)


@pytest.fixture
def device() -> Refusing:
    return Refusing()


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model, torch.inference_mode():
        return torch.as_tensor(model(X)).clone()


def test_an_offload_is_done_and_its_memory_is_residual(device: Refusing, caplog: pytest.LogCaptureFixture) -> None:
    weights = on_gpu(weights_on(device, load))
    right, arena_bytes = answer(weights), weights._loaded.own.device_bytes  # type: ignore[union-attr]
    device.refuses = True
    released = weights.offload()
    assert weights.residency is Residency.CPU
    assert (released.residual, released.method) == (arena_bytes, "sim")
    assert released.nbytes > 0, "of what is not in the arena"
    assert "cuMemUnmap" in caplog.text
    device.refuses = False
    weights.restore()
    assert torch.equal(answer(weights), right)


def test_every_bundle_leaves_when_the_first_one_is_refused(device: Refusing) -> None:
    family = Family(device)
    for weights in (family.a, family.b, family.c):
        weights.load()
    family.b.restore()
    assert len(family.b._loaded.bundles) > 1  # type: ignore[union-attr]
    device.refuses = True
    family.b.offload()
    device.refuses = False
    assert family.b.residency is Residency.CPU
    assert not any(bundle.on_device or bundle.users for bundle in family.b._loaded.bundles)  # type: ignore[union-attr]
    for weights, name in ((family.a, "a"), (family.b, "b"), (family.c, "c")):
        assert family.right(on_gpu(weights), name)


def test_an_unload_lets_go_of_everything(device: Refusing) -> None:
    weights = on_gpu(weights_on(device, load))
    own = weights._loaded.own  # type: ignore[union-attr]
    device.refuses = True
    weights.unload()
    assert (weights.residency, own.host_bytes, own.device_bytes) == (Residency.UNLOADED, 0, 0)
    device.refuses = False
    weights.wake()


def test_a_failed_wake_says_why_it_failed_and_not_what_came_after(device: Refusing) -> None:
    def warm_up(model: Any) -> None:
        device.refuses = True
        raise ValueError("no such voice")

    weights = weights_on(device, load, warm_up=warm_up)
    weights.load()
    with pytest.raises(LoadFailed, match="no such voice"):
        weights.restore()
    assert weights.residency is Residency.CPU
    device.refuses = False
    object.__setattr__(weights._options, "warm_up", None)
    weights.restore()


@pytest.mark.parametrize("nth", [1, 2], ids=["before", "after"])
def test_a_device_that_can_not_be_asked_what_it_holds_hinders_no_release(device: Refusing, nth: int) -> None:
    weights = on_gpu(weights_on(device, load))
    right, asked, held_bytes = answer(weights), [0], device.held_bytes

    def refuse() -> Any:
        asked[0] += 1
        if asked[0] == nth:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return held_bytes()

    device.held_bytes = refuse  # type: ignore[method-assign]
    released = weights.offload()
    assert (weights.residency, released.nbytes, released.method) == (Residency.CPU, 0, None)
    weights.restore()
    assert torch.equal(answer(weights), right)


def test_who_waits_for_a_bundle_that_goes_is_woken_although_its_memory_is_refused(device: Refusing) -> None:
    weights = on_gpu(weights_on(device, load))
    own = weights._loaded.own  # type: ignore[union-attr]
    own.ready.clear()
    device.refuses = True
    with pytest.raises(CopyFailed):
        own.close()
    assert own.ready.is_set()
    assert not own.host_bytes


def test_a_reservation_that_could_not_be_closed_is_closed_before_the_next_one(
    monkeypatch: pytest.MonkeyPatch, device: Refusing
) -> None:
    weights = on_gpu(weights_on(device, load, stable_addresses=True, engine=TorchProcess(device)))
    own, closed = weights._loaded.own, list[str]()  # type: ignore[union-attr]
    weights.offload()
    reservation: Any = own._placing._reservation
    close: Callable[[], None] = reservation.close

    def refuse_once() -> None:
        closed.append("asked")
        if len(closed) == 1:
            raise CopyFailed("sim: the driver refused cuMemAddressFree")
        close()

    monkeypatch.setattr(reservation, "close", refuse_once, raising=False)
    own._placing._reserved_bytes += 1  # as if the weights had another size by now
    with pytest.raises(CopyFailed):
        weights.restore()
    weights.restore()
    assert len(closed) == 2
    assert own._placing._reservation is not reservation
