"""Brings a loaded model's bundles to the device: all of them or none, with room made for them where there is none."""

from typing import Any

from ....errors import DeviceFull
from ..device import Arena
from ..loaded import Loaded
from ..process import TorchProcess
from ..sharing.bundle import Bundle
from .leaving import roll_back


def bring(process: TorchProcess, loaded: Loaded[Any], name: str) -> None:
    """All bundles of a model that are not there yet → the device, verified; the tensors point there then.

    Raises as `Weights.restore` does; the caller rolls back.
    """
    while True:
        arenas = _claim_and_allocate(process, loaded, name)
        try:
            _fill(loaded, arenas)
            # The check's scratch memory would be kept for as long as the model is awake.
            process.device.trim()
            return
        except DeviceFull as full:  # the weights fit, and left no room to verify them in
            if not _room_made(process, loaded, name, full):
                raise


def _fill(loaded: Loaded[Any], arenas: dict[Bundle, Arena]) -> None:
    try:
        for bundle in loaded.bundles:
            with bundle.lock:
                if bundle in arenas and not bundle.on_device:
                    bundle.bring(arenas[bundle])
                    bundle.commit(arenas.pop(bundle))
    finally:
        for arena in arenas.values():
            arena.close()


def _room_made(process: TorchProcess, loaded: Loaded[Any], name: str, full: DeviceFull) -> bool:
    """Does not raise `full` itself: an error that a frame of its own traceback knows keeps every frame's tensors, and
    the device's memory with them, until a collection."""
    if loaded.own.host_bytes or not loaded.own.on_device:  # it was not loaded there without a mirror
        roll_back(process, loaded, name)
    return process.room_made(name, full)


def _claim_and_allocate(process: TorchProcess, loaded: Loaded[Any], name: str) -> dict[Bundle, Arena]:
    """No lock, no memory and no claim is held while room is made: whoever leaves for it may need the same bundles,
    and of a bundle that is claimed as a whole, no part can leave."""
    for bundle in loaded.bundles:
        with bundle.lock:
            process.shared.split_if_due(bundle)
    while True:
        while not all(bundle.claim(loaded) for bundle in loaded.bundles):
            pass  # one was split as we looked; `bundles` has its parts now
        try:
            with process.accounting:
                missing = [bundle for bundle in loaded.bundles if not bundle.on_device]
                process.leave_what_is_held(name, sum(bundle.nbytes_for(loaded) for bundle in missing))
                arenas = _allocate(loaded, missing)
            process.got_room(name)
            return arenas
        except DeviceFull as full:
            if not _room_made(process, loaded, name, full):
                raise


def _allocate(holder: object, bundles: list[Bundle]) -> dict[Bundle, Arena]:
    """Memory for all of them or for none. Raises `DeviceFull` with what all need and what there is for them."""
    arenas: dict[Bundle, Arena] = {}
    try:
        for bundle in bundles:
            arenas[bundle] = bundle.allocate()
    except BaseException as error:
        got = sum(bundle.nbytes for bundle in arenas)
        for arena in arenas.values():
            arena.close()
        if isinstance(error, DeviceFull):
            need = sum(bundle.nbytes_for(holder) for bundle in bundles)
            raise DeviceFull(error.device, need, error.room_bytes + got) from error
        raise
    return arenas
