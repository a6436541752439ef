"""Carries a transition out with the engine, outside of the slot's lock: what came of it, whatever happens."""

import logging
from collections.abc import Iterable
from typing import Any

from dormouse_contract import Residency, Trigger

from ..errors import DeviceBroken, DormouseError, HostFull, ModelChanged, TransitionFailed
from .device import Device, check_works
from .engine import Engine, Fence, Released
from .frames import let_go_of_locals
from .transition import Transition

_log = logging.getLogger("dormouse")


def carry_out(
    engine: Engine[Any], transition: Transition, fences: Iterable[Fence], name: str
) -> tuple[DormouseError | None, Released | None]:
    """Wait for what was queued on the device, then move. Raises nothing: the error is part of the outcome."""
    error: DormouseError | None = None
    released: Released | None = None
    try:
        for fence in fences:
            fence.wait()
        check_works(engine.device)
        released = _move(engine, transition)
    except DormouseError as problem:
        error = problem
    except BaseException as problem:  # whatever it is: a transition that never settles holds everybody up
        _log.exception("model %s: %s → %s broke", name, transition.origin, transition.to)
        error = TransitionFailed(f"model {name!r}: {type(problem).__name__}: {problem}")
        let_go_of_locals(problem)
    error = _or_broken(error, engine.device)
    if error is not None:
        # What the error's frames still hold could not be given back.
        let_go_of_locals(error)
        engine.clean_up()
    return error, released


def not_started(name: str, transition: Transition, problem: BaseException) -> TransitionFailed:
    """The error of a move for which no thread could be started."""
    error = TransitionFailed(
        f"model {name!r} could not be moved to {transition.to}: no thread can be started ({problem}). "
        f"It stays on the {transition.origin}, whole. Ask again soon; raise the limit of processes if this stays so"
    )
    error.residency = transition.origin
    return error


def _move(engine: Engine[Any], transition: Transition) -> Released | None:
    if transition.to is Residency.GPU:
        engine.wake()
        return None
    if engine.residency is Residency.UNLOADED:
        engine.load()
        return None
    if transition.to is Residency.UNLOADED:
        return engine.unload()
    try:
        return engine.offload()
    except HostFull as full:
        if transition.trigger is Trigger.MANUAL:
            raise
        # What the ladder, or pressure, asks for is that the GPU is free: straight to Unloaded, then.
        transition.to, transition.reason = Residency.UNLOADED, f"{transition.reason}; {full}"
        try:
            return engine.unload()
        except ModelChanged as changed:
            # Not a refused unload, which the ladder would follow with the next offload at once, and so on.
            raise TransitionFailed(f"{full}. {changed}") from changed


def _or_broken(error: DormouseError | None, device: Device) -> DormouseError | None:
    """The error, or `DeviceBroken` where that is behind it: a refused copy or a failed warm-up says too little."""
    if error is None or isinstance(error, DeviceBroken | HostFull | ModelChanged):
        return error
    device.examine()
    if device.broken is None:
        return error
    broken = DeviceBroken(device.name, device.broken)
    broken.__cause__ = error
    return broken
