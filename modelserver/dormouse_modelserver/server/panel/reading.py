"""Reads the registry and the device into what the page shows. Every figure is measured, or it is null."""

from importlib.metadata import version
from typing import Any

from dormouse_contract import Action, Observation, Policy, plan

from ...errors import DeviceBroken
from ...lifecycle.device import Device, Occupancy
from ...lifecycle.registry import Registry
from ...lifecycle.room.host_memory import read_host_memory
from ...lifecycle.slot import Slot
from ..authority import Access
from .state import DeviceState, HolderState, ModelState, NextMove, PanelState, UseState

# Fractions of a MiB change all the time on a machine that does other things as well.
_ROOM_STEP_BYTES = 256 << 20

# Most answers are made by then; and a page is no list of everything that runs.
LONG_USE_SECONDS = 30.0
_MOST_USES = 8


def read_state(
    registry: Registry, access: Access, started_at: float, now: float, correction: float = 0.0
) -> PanelState:
    """Blocks for as long as the driver takes to answer: not for an event loop.

    started_at, now: steady; `correction` makes them, and what is planned by them, the wall clock's.
    """
    seen = occupancy_of(registry.device)
    models = [_model(slot, now, correction) for slot in registry.slots()]
    return PanelState(
        now=now + correction,
        started_at=started_at + correction,
        version=version("dormouse"),
        access=access,
        not_ready_because=registry.not_ready_because(),
        host_room_bytes=read_host_memory().room // _ROOM_STEP_BYTES * _ROOM_STEP_BYTES,
        device=_device(registry, seen, sum(model.gpu_memory_bytes for model in models)),
        models=models,
    )


def occupancy_of(device: Device) -> Occupancy | None:
    """As measured now; None for a broken device, which is not asked."""
    try:
        return device.occupancy()
    except DeviceBroken:
        return None


def next_move(policy: Policy, seen: Observation, now: float) -> NextMove | None:
    """What `plan()` itself will decide when only time passes: None when that is nothing."""
    since = now if seen.idle_since is None else min(now, seen.idle_since)
    at: float | None = now
    # Each step is a moment at which time alone may change the decision; a ladder has two rungs and a guard.
    for _ in range(4):
        if at is None:
            return None
        decision = plan(policy, seen, at)
        if decision.action is Action.ORDER and decision.desired is not None:
            return NextMove(to=decision.desired, at=since if at == now else at, since=since)
        at = decision.revisit_at
    return None


def _model(slot: Slot[Any], now: float, correction: float) -> ModelState:
    view = slot.view
    snapshot, figures = view.snapshot(), view.figures()
    policy, seen, lapses_at = view.outlook()
    at_rest = snapshot.transition is None and not view.device_broken
    move = next_move(policy, seen, now) if at_rest else None
    if move is not None:
        move = NextMove(to=move.to, at=move.at + correction, since=move.since + correction)
    return ModelState(
        name=snapshot.name,
        residency=snapshot.residency,
        transition=snapshot.transition,
        gpu_memory_bytes=snapshot.gpu_memory_bytes,
        host_memory_bytes=snapshot.host_memory_bytes,
        released_bytes=snapshot.gpu_memory_released_bytes,
        released_method=snapshot.released_method,
        saved_byte_seconds=figures.released_byte_seconds,
        in_flight=snapshot.in_flight,
        waiting=snapshot.waiting,
        idle_since=figures.idle_since,
        offload_after_seconds=policy.offload_after_seconds,
        unload_after_seconds=policy.unload_after_seconds,
        next_move=move,
        pinned=snapshot.pinned,
        pinned_by_hand=view.pinned_by_hand,
        dirty=snapshot.dirty,
        changed=view.changed,
        moved_apart=list(view.moved_apart),
        restore_estimate_seconds=snapshot.restore_estimate_seconds,
        lent_until=None if lapses_at is None else lapses_at + correction,
        recent=list(view.recent_transitions()),
        long_uses=_long_uses(slot, correction),
    )


def _long_uses(slot: Slot[Any], correction: float) -> list[UseState]:
    return [
        UseState(
            number=use.number,
            since=use.granted_at + correction,
            thread=use.entry.thread,
            where=use.entry.where,
            running=use.entry.runs_now,
        )
        for use in slot.uses()[:_MOST_USES]
        if use.entry is not None and slot.age_seconds(use) >= LONG_USE_SECONDS
    ]


def _device(registry: Registry, seen: Occupancy | None, weights_bytes: int) -> DeviceState:
    mine = seen.used_by_this_process if seen is not None else None
    holders = None
    if seen is not None and seen.holders is not None:
        holders = [
            HolderState(pid=h.pid, name=h.name, bytes=h.nbytes, this_process=h.this_process) for h in seen.holders
        ]
    return DeviceState(
        name=registry.device.name,
        simulated=registry.device.simulated,
        broken=registry.device.broken,
        total_bytes=seen.total if seen is not None else None,
        used_bytes=seen.used if seen is not None else None,
        process_bytes=mine,
        weights_bytes=weights_bytes,
        # Read a moment apart: a release in between would make it negative.
        rest_bytes=None if mine is None else max(0, mine - weights_bytes),
        holders=holders,
    )
