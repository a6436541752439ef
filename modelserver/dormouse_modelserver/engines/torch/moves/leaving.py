"""Takes a loaded model off the device: as far as nobody else needs what it shares, and measured, not added up."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from ....errors import TransitionFailed
from ....lifecycle.engine import Released
from ..layout.matching import as_found
from ..layout.pointing import follow
from ..loaded import Loaded
from ..process import TorchProcess
from ..sharing.bundle import Bundle
from ..sharing.shared_bundles import locked
from .attempts import Attempts
from .measure import Measure

_log = logging.getLogger("dormouse")


def leave(
    process: TorchProcess, loaded: Loaded[Any], *, for_good: bool = False, stays: Collection[Bundle] = frozenset()
) -> Released:
    """Off the device, as far as nobody else needs it there; measured.

    for_good: it is unloaded, and what nobody else holds is freed. stays: what can't leave yet.

    Once begun it is done to the end: the weights are whole in host RAM, and half a model on the device would be of no
    use to anybody. Memory that the device refuses to take back is logged, and counted as residual.
    """
    was_there, attempt = loaded.awake, Attempts()
    process.said.unsay(loaded, for_good=for_good)
    with bundles_of(loaded):
        with process.accounting:
            # What was kept and not used, the check's scratch memory above all, is no part of this release.
            if was_there:
                process.device.trim()
            measure = Measure(process.device)
            held = sum(bundle.device_bytes for bundle in loaded.bundles)
            held += sum(one.device_bytes for one in loaded.apart)
            for one in loaded.apart:
                attempt(one.leave)
            for bundle in loaded.bundles:
                if bundle.disclaim(loaded) and bundle not in stays:
                    attempt(bundle.leave)
            attempt(follow, loaded.guarded, process.device.torch_device)
            released = measure.released(held)
        loaded.awake = False
        for bundle in loaded.bundles:
            if for_good:
                attempt(process.shared.leave, loaded, bundle)
            attempt(process.shared.split_if_due, bundle)
    if attempt.error is not None:
        _log.warning(
            "model %s: off the device, and not all of its memory was given back (%d of %d bytes): %s",
            loaded.gate.model_name,
            released.nbytes,
            held,
            attempt.error,
        )
    elif released.residual and (views := sum(bundle.views_left for bundle in loaded.bundles)):
        _log.warning(
            "model %s: %d of its %d bytes stay on the device while %d tensor(s) outside the model view them: a kept "
            "output or a detached weight, for example. Keep a .clone() of such a tensor instead",
            loaded.gate.model_name,
            released.residual,
            held,
            views,
        )
    return released if was_there else Released()


def let_go(process: TorchProcess, loaded: Loaded[Any]) -> Released:
    """Unloaded: its gate stays shut for good, and what nobody else holds is freed."""
    loaded.gate.retire()
    return leave(process, loaded, for_good=True)


def roll_back(process: TorchProcess, loaded: Loaded[Any], name: str) -> None:
    """The wake failed. Off the device, as far as it has come.

    Others may have changed what they share with it, and have left, while this one kept it there: that is copied
    back first, or it stays on the device for whoever wakes next.
    """
    with bundles_of(loaded):
        stays = set[Bundle]()
        for bundle in loaded.bundles:
            if bundle.joined and bundle.users == {loaded}:
                try:
                    bundle.take_in(as_found(bundle.packing))
                except TransitionFailed as problem:
                    _log.warning("model %s: what it shares stays on the device: %s", name, problem)
                    stays.add(bundle)
        leave(process, loaded, stays=stays)


@contextmanager
def bundles_of(loaded: Loaded[Any]) -> Iterator[None]:
    """Nobody else moves or splits the model's bundles within the block."""
    while True:
        bundles = loaded.bundles
        with locked(bundles):
            if bundles is loaded.bundles:
                yield
                return


@contextmanager
def mirrors_kept(loaded: Loaded[Any]) -> Iterator[None]:
    """Nobody else's need of host RAM takes a mirror that is about to be all that there is."""
    for bundle in loaded.bundles:
        bundle.keep_mirror(loaded)
    try:
        yield
    except BaseException:
        for bundle in loaded.bundles:
            bundle.settle(loaded)
        raise
