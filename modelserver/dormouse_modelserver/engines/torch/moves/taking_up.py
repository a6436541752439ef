"""What was done to a model while it slept, and got past the refusals: found before it moves on, and in force then.

An adapter, a layer or a buffer was put in, a parameter replaced by another, one taken out, or bytes put into one in a
way that asks nobody. What is new goes along to the device in a bundle for itself: the mirror of the others, which may
be many times as large, stays as it is.
"""

import logging
from collections.abc import Callable
from typing import Any

from ....errors import TransitionFailed
from ..layout.changes import added, in_short, removed
from ..layout.inventory import Found, Inventory
from ..layout.matching import part_of
from ..layout.packing import PackedTensor
from ..loaded import Loaded, Stock
from ..process import TorchProcess
from ..sharing.bundle import Bundle
from .leaving import bundles_of
from .stocktaking import look_again, take_stock

_log = logging.getLogger("dormouse")


def take_up(process: TorchProcess, loaded: Loaded[Any], bundle: Callable[[], Bundle], *, may_share: bool) -> Inventory:
    """Before a sleeping model wakes: what it has now. bundle: makes an empty one.

    Raises `HostFull` or `CopyFailed`, and `TransitionFailed` for tensors without bytes; it sleeps on then, and nothing
    of what was put in is lost.
    """
    inventory = look_again(process, loaded, may_share=may_share)
    with bundles_of(loaded):
        _put_out_replaced(process, loaded, may_share=may_share)
        _name_what_is_lost(loaded)
        if _is_as_known(loaded, inventory):
            return inventory
        stock = take_stock(loaded, inventory)
        _hand_over(loaded, stock)
        new = _new(loaded, stock)
        if may_share:
            _shed(process, loaded, stock)
        if not new:
            return inventory
        hollow = [found.path for found in new if found.tensor.device.type == "meta"]
        if hollow:
            raise TransitionFailed(
                f"model {loaded.gate.model_name!r} can't wake: {hollow[0]!r} was put in while it slept, is on the "
                "meta device and has no bytes. The model sleeps on; give the tensor its data, on the CPU"
            )
        extra = bundle()
        with extra.lock:
            extra.take_up(new)
            _hold(loaded, extra)
        if may_share:
            process.shared.add(extra)
        return inventory


def take_stock_asleep(process: TorchProcess, loaded: Loaded[Any], inventory: Inventory, *, may_share: bool) -> Stock:
    """`take_stock` of a model that sleeps. Its bundles are locked."""
    _put_out_replaced(process, loaded, may_share=may_share)
    stock = take_stock(loaded, inventory)
    _hand_over(loaded, stock)
    return stock


def touched_asleep(loaded: Loaded[Any], stock: Stock) -> tuple[str, ...]:
    """The parameters and buffers that were put in or taken out since it fell asleep, of what is its alone."""
    touched: list[str] = []
    for bundle in loaded.bundles:
        packed = _packed(bundle)
        new = (found for found in stock.alone[bundle] if found.saved and id(found.tensor) not in packed)
        touched += [added(found.path) for found in new]
        if bundle.holders.keys() <= {loaded}:
            there = {id(found.tensor) for found in stock.packable[bundle]}
            gone = (one for key, one in packed.items() if one.saved and key not in there)
            touched += [removed(one.path) for one in gone]
    return tuple(touched)


def _put_out_replaced(process: TorchProcess, loaded: Loaded[Any], *, may_share: bool) -> None:
    """Tensors whose bytes somebody has replaced past their refusal are new ones from now on."""
    for bundle in loaded.bundles:
        if not bundle.on_device and bundle.put_out_replaced() and may_share:
            process.shared.taken_in(bundle)


def _name_what_is_lost(loaded: Loaded[Any]) -> None:
    """Nothing can refuse a write to a tensor that was taken from the model awake, and is none of its weights now."""
    paths = [path for bundle in loaded.bundles for path in bundle.written_from_outside()]
    if paths:
        _log.warning(
            "model %s: %s was written to while it slept, through a tensor taken from the model before, such as "
            "an entry of state_dict() or a detach(). The model wakes without that; write inside `on_gpu()`",
            loaded.gate.model_name,
            in_short(map(repr, paths)),
        )


def _hand_over(loaded: Loaded[Any], stock: Stock) -> None:
    """A tensor of a module that others have too was replaced by one that they have as well: that is the change, and the
    old one's end is none."""
    mine = {id(found.tensor) for found in stock.inventory.tensors}
    alone = {id(found.tensor) for bundle in loaded.bundles for found in stock.alone[bundle]}
    found = [one for bundle in loaded.bundles for one in stock.packable[bundle]]
    there = {id(one.tensor) for one in found}
    shared = mine - alone
    others = {path for one in found if id(one.tensor) in shared for path in one.paths}
    for bundle in loaded.bundles:
        if others and not bundle.on_device and bundle.holders.keys() <= {loaded}:
            gone = {key for key, one in _packed(bundle).items() if key not in there and one.path in others}
            if gone:
                bundle.part_with(gone)


def _shed(process: TorchProcess, loaded: Loaded[Any], stock: Stock) -> None:
    """What was taken out, or replaced by something as large, needs no room on the device."""
    for bundle in loaded.bundles:
        if bundle.on_device or not bundle.holders.keys() <= {loaded}:
            continue
        packed, packing = _packed(bundle), bundle.packing
        there = {id(found.tensor) for found in stock.packable[bundle]}
        needed = {*packing.regions_of(there)}
        gone = {key for key, one in packed.items() if one.region not in needed}
        if gone:
            process.shared.shed(loaded, bundle, gone)


def _is_as_known(loaded: Loaded[Any], inventory: Inventory) -> bool:
    """Nearly always, and a wake waits for it."""
    known = {id(packed.tensor): bundle for bundle in loaded.bundles for packed in bundle.packing.tensors}
    there = {id(found.tensor) for found in inventory.tensors}
    mine = (key for key, bundle in known.items() if key not in there and bundle.holders.keys() <= {loaded})
    return there <= known.keys() and next(mine, None) is None and inventory.modules == loaded.guarded


def _hold(loaded: Loaded[Any], extra: Bundle) -> None:
    """For the model, and for those that it shares modules with and that have the same tensors: they sleep too, and none
    of them can move, since the locks of what they share are held."""
    extra.holders[loaded] = None
    theirs = {holder for bundle in loaded.bundles for holder in bundle.holders if holder is not loaded}
    loaded.bundles = (*loaded.bundles, extra)
    there = {id(packed.tensor) for packed in extra.packing.tensors}
    for holder in theirs:
        chosen = holder.reach() & there
        if chosen:
            extra.holders[holder], extra.joined = part_of(extra.packing, chosen), True
            holder.bundles = (*holder.bundles, extra)


def _new(loaded: Loaded[Any], stock: Stock) -> list[Found]:
    """In no bundle yet. What another model uses on the device, or wakes with, stays where it is until that sleeps."""
    in_use = frozenset[int]().union(*(theirs for holder, theirs in stock.reach.items() if holder.awake))
    new: list[Found] = []
    for bundle in loaded.bundles:
        packed, alone = _packed(bundle), {id(found.tensor) for found in stock.alone[bundle]}
        new += [
            found
            for found in stock.packable[bundle]
            if (key := id(found.tensor)) not in packed and key not in in_use and (key in alone or not bundle.users)
        ]
    return new


def _packed(bundle: Bundle) -> dict[int, PackedTensor]:
    return {id(packed.tensor): packed for packed in bundle.packing.tensors}
