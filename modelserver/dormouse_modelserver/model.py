"""The handle of a registered model: what the user's code holds."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from dormouse_contract import Residency, Trigger
from dormouse_contract.wire import ModelSnapshot

from .arguments import check_residency, check_seconds_argument
from .errors import DormouseError
from .lifecycle.slot import Slot
from .lifecycle.uses.hold import Hold
from .lifecycle.uses.uses_gpu import UsesGpu, hold_while_running

if TYPE_CHECKING:
    from .engines.torch.weights import Weights

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class Model(Generic[T]):
    """One registered model. Made by `ResidencyManager.register`."""

    def __init__(self, slot: Slot[T], weights: "Weights[T]") -> None:
        self._slot, self._weights = slot, weights

    def __repr__(self) -> str:
        return f"<Model {self.name!r} on {self.snapshot().residency}>"

    @property
    def name(self) -> str:
        return self._slot.name

    def on_gpu(self, timeout: float | None = None) -> Hold[T]:
        """`with` or `async with`: wakes the model if needed, counts as a use, holds it on the GPU.

        Gives the user's own object. `timeout` in seconds; None is the model's wake budget.
        Raises `WakeTimeout`, or `TransitionFailed` (why the wake failed); `DeviceBroken` at once when nothing but a
        restart helps.
        """
        check_seconds_argument(f"{self.name}.on_gpu(timeout=…)", timeout)
        return Hold(self._slot, timeout)

    @overload
    def uses_gpu(self, function: Callable[Concatenate[T, P], R], /) -> Callable[P, R]: ...
    @overload
    def uses_gpu(self, function: Callable[..., R], /) -> Callable[..., R]: ...
    @overload
    def uses_gpu(self, /, *, timeout: float | None = None) -> UsesGpu[T]: ...
    def uses_gpu(self, function: Callable[..., Any] | None = None, /, *, timeout: float | None = None) -> Any:
        """`@tts.uses_gpu` or `@tts.uses_gpu(timeout=30)`: the function holds the model on the GPU while it runs.

        For functions, async functions, generators and async generators; a generator holds the model from
        its first item until it is exhausted or closed. The model goes to the parameter named `model`,
        otherwise to the first one; callers leave it out. Raises what `on_gpu()` raises, and TypeError at
        decoration when there is no place for the model.
        """
        hold, handle = self.on_gpu(timeout), f"{self.name}.uses_gpu"
        if function is not None:
            return hold_while_running(hold, function, handle)
        return lambda function: hold_while_running(hold, function, handle)

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
        self._check_move("move_to", residency, if_idle_for)
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
        self._check_move("amove_to", residency, if_idle_for)
        while (
            move := self._slot.begin_move(residency, if_idle_for=if_idle_for, trigger=trigger, reason=reason)
        ) is not None:
            error = await asyncio.shield(asyncio.wrap_future(move.settled))
            if move.asked is residency:
                _raise(error)
                return

    @property
    def moved_apart(self) -> tuple[str, ...]:
        """What is moved on its own, or was seen and is not moved at all, as `path: reason`; empty when unloaded."""
        return self._weights.moved_apart

    @property
    def says_where(self) -> tuple[str, ...]:
        """The attributes that name its device and follow the weights, by path; as of the last wake."""
        return self._weights.says_where

    @property
    def tensors(self) -> int:
        """How many of its tensors move; 0 when unloaded."""
        return self._weights.tensors

    def _check_move(self, call: str, residency: Residency, if_idle_for: float | None) -> None:
        check_residency(f"{self.name}.{call}()", residency)
        check_seconds_argument(f"{self.name}.{call}(if_idle_for=…)", if_idle_for)

    def snapshot(self) -> ModelSnapshot:
        """Everything about the model at one moment, as the control API shows it."""
        return self._slot.view.snapshot()


def _raise(error: DormouseError | None) -> None:
    if error is not None:
        raise error.with_traceback(None)
