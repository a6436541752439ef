"""Memory that a failed move has held is back with the driver when the move has ended, and while it waits for room.

On CUDA a closed arena goes to torch's cache, and further only when nothing views it any more.
"""

import weakref
from typing import Any

import pytest
import torch
from dormouse_contract import Residency, Trigger
from dormouse_contract.wire import ReleasedMethod
from dormouse_modelserver import CopyFailed, DeviceFull
from dormouse_modelserver.engines.torch.device import Arena
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.lifecycle.moving import carry_out
from dormouse_modelserver.lifecycle.transition import Transition
from torch import nn

from tests.modelserver.zoo import seeded

from .using import weights_on

load = seeded(lambda: nn.Linear(8, 8))


class Caching(SimDevice):
    """held_at_trim: whether a failed call's view of the arena still lived when the device was trimmed."""

    def __init__(self) -> None:
        super().__init__("sim", 64 << 20)
        self.error: Exception | None = None
        self.views: list[weakref.ref[torch.Tensor]] = []
        self.held_at_trim: list[bool] = []

    def checksum(self, data: torch.Tensor) -> int:
        view = data[:]
        self.views.append(weakref.ref(view))
        if self.error is not None:
            raise self.error
        return super().checksum(view)

    def copy_in(self, source: torch.Tensor, arena: Arena, at: int = 0) -> None:
        view = arena.bytes[:]
        self.views.append(weakref.ref(view))
        if isinstance(self.error, CopyFailed):
            raise self.error
        super().copy_in(source, arena, at)

    def trim(self) -> None:
        self.held_at_trim.append(any(view() is not None for view in self.views))


def move(weights: Weights[Any], to: Residency) -> Any:
    return carry_out(weights, Transition(weights.residency, to, Trigger.MANUAL, "", 0.0), [], "tts")[0]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(CopyFailed("broke off"), id="copy"),
        pytest.param(RuntimeError("CUDA error: misaligned address"), id="another error"),
        pytest.param(DeviceFull("sim", 2, 1), id="no room to verify"),
    ],
)
def test_a_failed_wake_is_trimmed_after_its_error_lets_go_of_the_arena(error: Exception) -> None:
    device = Caching()
    weights = weights_on(device, load)
    weights.load()
    assert move(weights, Residency.GPU) is None
    assert move(weights, Residency.CPU) is None
    device.held_at_trim.clear()
    device.error = error
    assert move(weights, Residency.GPU) is not None
    assert device.held_at_trim
    assert not device.held_at_trim[-1]
    device.error = None
    assert move(weights, Residency.GPU) is None


def test_what_the_check_took_is_trimmed_once_after_a_wake_and_before_a_release_is_measured() -> None:
    """Else it would stay for as long as the model is awake, and count as the model's when that leaves."""
    order: list[str] = []

    class Ordered(Caching):
        def checksum(self, data: torch.Tensor) -> int:
            order.append("check")
            return super().checksum(data)

        def trim(self) -> None:
            order.append("trim")
            super().trim()

        def held_bytes(self) -> tuple[int, ReleasedMethod]:
            order.append("measure")
            return super().held_bytes()

    device = Ordered()
    weights = weights_on(device, load)
    weights.load()
    assert move(weights, Residency.GPU) is None
    assert move(weights, Residency.CPU) is None
    assert order == ["check", "trim", "check", "trim", "measure", "measure"]
    assert device.held_at_trim == [False, False]


def test_nothing_is_held_while_room_is_made() -> None:
    device = Caching()
    held: list[bool] = []

    def make_room(name: str, full: DeviceFull) -> bool:
        held.append(any(view() is not None for view in device.views))
        device.error = None
        return True

    weights = weights_on(device, load, engine=TorchProcess(device, make_room=make_room))
    weights.load()
    device.error = DeviceFull("sim", 2, 1)
    assert move(weights, Residency.GPU) is None
    assert held == [False]
    assert device.held_at_trim == [False, False], "before room is made, and after the wake"


def test_what_led_to_an_error_lets_go_too() -> None:
    """Of an error with a cause, the context is another one when the cause was made elsewhere."""
    from dormouse_modelserver.lifecycle.frames import let_go_of_locals

    class Held: ...

    kept: list[weakref.ref[Held]] = []

    def fail() -> None:
        held = Held()
        kept.append(weakref.ref(held))
        raise ValueError("first")

    try:
        try:
            fail()
        except ValueError:
            raise CopyFailed("second") from KeyError("made elsewhere")
    except CopyFailed as error:
        let_go_of_locals(error)
        assert kept[0]() is None
