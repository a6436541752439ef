"""The handle of a registered model: what the user's code holds."""

import asyncio
from typing import Generic, TypeVar

from dormouse_contract import Residency, Trigger
from dormouse_contract.wire import ModelSnapshot

from .errors import DormouseError
from .hold import Hold
from .slot import Slot

T = TypeVar("T")


class Model(Generic[T]):
    """One registered model. Made by `ResidencyManager.register`."""

    def __init__(self, slot: Slot[T]) -> None:
        self._slot = slot

    def __repr__(self) -> str:
        return f"<Model {self.name!r} on {self.snapshot().residency}>"

    @property
    def name(self) -> str:
        return self._slot.name

    def on_gpu(self, timeout: float | None = None) -> Hold[T]:
        """`with` or `async with`: wakes the model if needed, counts as a use, holds it on the GPU.

        Gives the user's own object. `timeout` in seconds; None is the model's wake budget.
        Raises `WakeTimeout`, or `TransitionFailed` (why the wake failed).
        """
        return Hold(self._slot, timeout)

    def move_to(
        self,
        residency: Residency,
        *,
        if_idle_for: float | None = None,
        trigger: Trigger = Trigger.MANUAL,
        reason: str = "",
    ) -> None:
        """Bring the weights there and return when they are. Pins nothing: the ladder goes on from there.

        `if_idle_for` in seconds. Raises `ModelBusy` when in use or not idle for long enough, `ModelChanged`
        when an unload would lose changes, `TransitionFailed` when it did not work; nothing was moved then.
        """
        while (
            move := self._slot.begin_move(residency, if_idle_for=if_idle_for, trigger=trigger, reason=reason)
        ) is not None:
            error = move.settled.result()
            if move.asked is residency:
                _raise(error)
                return

    async def amove_to(
        self,
        residency: Residency,
        *,
        if_idle_for: float | None = None,
        trigger: Trigger = Trigger.MANUAL,
        reason: str = "",
    ) -> None:
        """`move_to` for async code. Cancelling the wait does not stop the move."""
        while (
            move := self._slot.begin_move(residency, if_idle_for=if_idle_for, trigger=trigger, reason=reason)
        ) is not None:
            error = await asyncio.shield(asyncio.wrap_future(move.settled))
            if move.asked is residency:
                _raise(error)
                return

    @property
    def moved_apart(self) -> tuple[str, ...]:
        """Tensors that can't lie in the arena and are moved on their own, as `path: reason`; empty when unloaded."""
        return self._slot.moved_apart

    def snapshot(self) -> ModelSnapshot:
        """Everything about the model at one moment, as the control API shows it."""
        return self._slot.snapshot()


def _raise(error: DormouseError | None) -> None:
    if error is not None:
        raise error.with_traceback(None)
