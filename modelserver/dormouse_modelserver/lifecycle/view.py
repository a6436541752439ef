"""What others may see of a slot. It changes nothing; each figure set is of one moment.

Moments in what travels (snapshots, figures) are the wall clock's; in what this process decides by, they are steady.
"""

import math
from dataclasses import dataclass
from typing import Any

from dormouse_contract import Observation, Policy, Residency
from dormouse_contract.wire import LastTransitionSnapshot, ModelSnapshot

from .engine import Engine
from .history.advice import Observed
from .room.claims import claim_of, occupant_of
from .room.turns import Claim, Occupant
from .settings import SlotSettings
from .state import SlotState
from .uses.use import Use


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """What the metrics show beyond the snapshot.

    idle_since: Unix seconds, 0 while in flight. oldest_use: Unix seconds, 0 while nobody uses it.
    unload_refused: since its last use, for changes that it would lose.
    """

    idle_since: float
    oldest_use: float
    released_byte_seconds: float
    residual_bytes: int
    unload_refused: bool


class SlotView:
    """Thread-safe; never blocks for longer than a change of the slot's state takes."""

    def __init__(self, name: str, engine: Engine[Any], state: SlotState) -> None:
        self._name, self._engine, self._state = name, engine, state

    @property
    def residency(self) -> Residency:
        with self._state.lock:
            return self._state.residency

    @property
    def on_device(self) -> bool:
        return self.residency is Residency.GPU

    @property
    def device_broken(self) -> bool:
        """Nothing moves any more, and nothing is let in."""
        return self._engine.device.broken is not None

    @property
    def idle_seconds(self) -> float:
        with self._state.lock:
            return self._state.idle_seconds()

    @property
    def may_make_room(self) -> bool:
        """On the device, used by nobody, and not pinned: it may be asked to leave for another model."""
        if self.device_broken:
            return False
        state = self._state
        with state.lock:
            at_rest = state.transition is None and state.at_rest
            return state.residency is Residency.GPU and at_rest and not state.pinned(state.clock())

    def claim(self) -> Claim | None:
        """What it claims on the device, while its wake lacks room and somebody waits for it."""
        state = self._state
        with state.lock:
            return claim_of(self._name, state, self._engine, state.clock())

    def occupant(self) -> Occupant | None:
        """What it is to those who want room; None while it takes nothing there."""
        state = self._state
        with state.lock:
            return occupant_of(self._name, state, self._engine, state.clock())

    def held_by_waiters(self) -> set[Use]:
        """The uses, of other models, that those who wait for this one hold."""
        with self._state.lock:
            return {use for waiter in self._state.waiters for use in waiter.holding}

    @property
    def waited_seconds(self) -> float:
        """How long the first of those who wait has waited; 0 when nobody waits."""
        state = self._state
        with state.lock:
            now = state.clock()
            return max((now - waiter.since for waiter in state.waiters), default=0.0)

    @property
    def drain_ends_at(self) -> float:
        with self._state.lock:
            return self._state.drain.ends_at

    @property
    def ever_loaded(self) -> bool:
        """In host RAM or on the GPU, now or before."""
        with self._state.lock:
            return self._state.history.ever_loaded

    @property
    def pinned_by_hand(self) -> bool:
        return self._state.pinned_by_hand

    @property
    def changed(self) -> str:
        """What an unload would lose, by name; empty when that is nothing."""
        return self._engine.changed

    @property
    def moved_apart(self) -> tuple[str, ...]:
        """What of the model is not moved with the rest, or not at all, as `path: reason`."""
        return self._engine.moved_apart

    @property
    def settings(self) -> SlotSettings:
        with self._state.lock:
            return self._state.lending.settings(self._state.clock())

    @property
    def demotion_failed_at(self) -> float | None:
        """When the last demotion failed (steady); None when it did not."""
        with self._state.lock:
            return self._state.history.demotion_failed_at

    def outlook(self) -> tuple[Policy, Observation, float | None]:
        """For the idle timer: the policy in force, what is observed, and when the policy in force lapses; steady times.

        With a transition under way or a pin everything counts as in use.
        """
        state = self._state
        with state.lock:
            now = state.clock()
            held = state.transition is not None or state.pinned(now)
            observation = Observation(
                residency=state.residency,
                in_flight=max(state.in_flight + len(state.waiters), int(held)),
                idle_since=state.history.idle_since,
                resident_since=state.history.resident_since,
                unload_refused=state.history.unload_refused is not None,
            )
            return state.lending.settings(now).policy(), observation, state.lending.lapses_at(now)

    def snapshot(self) -> ModelSnapshot:
        """Everything about the model, as the control API shows it."""
        state, engine = self._state, self._engine
        with state.lock:
            now, doing, correction = state.clock(), state.transition, state.correction()
            return ModelSnapshot(
                name=self._name,
                residency=state.residency,
                in_flight=state.in_flight,
                waiting=len(state.waiters),
                idle_seconds=state.idle_seconds(),
                last_request_end=state.history.last_request_end + correction,
                gpu_memory_bytes=engine.device_bytes,
                host_memory_bytes=engine.host_bytes,
                gpu_memory_released_bytes=state.history.released.nbytes,
                released_method=state.history.released.method,
                device=engine.device.name,
                dirty=engine.dirty,
                pinned=state.pinned(now),
                turn_seconds=_or_none(state.lending.settings(now).turn_seconds),
                restore_estimate_seconds=state.estimate_seconds(now),
                oldest_use_seconds=max(0.0, now - oldest) if (oldest := state.oldest_use) else None,
                transition=None if doing is None else doing.snapshot(correction),
                last_transition=None if state.history.last is None else _corrected(state.history.last, correction),
            )

    def figures(self) -> SlotFigures:
        state = self._state
        with state.lock:
            return SlotFigures(
                idle_since=0.0 if state.in_flight else state.history.idle_since + state.correction(),
                oldest_use=state.oldest_use + state.correction() if state.oldest_use else 0.0,
                released_byte_seconds=state.history.released_byte_seconds(state.clock()),
                residual_bytes=state.history.released.residual,
                unload_refused=state.history.unload_refused is not None,
            )

    def recent_transitions(self) -> tuple[LastTransitionSnapshot, ...]:
        """The latest that ended, newest first, refused and failed ones included."""
        with self._state.lock:
            correction = self._state.correction()
            return tuple(_corrected(ended, correction) for ended in self._state.history.recent)

    def observed(self) -> Observed:
        """How the model was used and what its sleep is worth, for advice on its timeouts."""
        state, engine = self._state, self._engine
        with state.lock:
            now, policy, speed = state.clock(), state.lending.own.policy(), engine.speed
            lent = state.lending.current(now) is not None
            bursts = state.history.arrivals.bursts(now)
            return Observed(
                now=now,
                since=state.history.arrivals.since,
                bursts=bursts,
                in_use=state.wanted,
                gpu_memory_bytes=engine.device_bytes or state.history.released.nbytes or None,
                restore_seconds=speed.restore_seconds,
                load_seconds=speed.load_seconds,
                idle_timeout_seconds=None if lent else _or_never(policy.offload_after_seconds),
                unload_timeout_seconds=_or_never(policy.unload_after_seconds),
            )


def _corrected(ended: LastTransitionSnapshot, correction: float) -> LastTransitionSnapshot:
    return ended.model_copy(update={"time": ended.time + correction}) if correction else ended


def _or_none(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
