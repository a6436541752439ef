"""What a loaded model has now, against what it had: before each demotion, since its user may have changed anything."""

from dataclasses import replace
from typing import Any

from ..layout.apart import Apart, why_apart
from ..layout.changes import merged
from ..layout.inventory import Inventory
from ..loaded import Loaded, Stock
from ..process import TorchProcess
from ..sharing.bundle import Bundle


def look_again(process: TorchProcess, loaded: Loaded[Any], *, may_share: bool) -> Inventory:
    """What the model has now. Modules of another model may have been put into it: they are shared from now on."""
    inventory, shared = loaded.look(), process.shared
    loaded.opaque = inventory.opaque
    mine = {id(packed.tensor) for bundle in loaded.bundles for packed in bundle.packing.tensors}
    tensors = [found.tensor for found in inventory.tensors if id(found.tensor) not in mine]
    if not tensors:
        return inventory
    homes = {id(tensor): home for tensor in tensors if (home := shared.of(tensor)) is not None}
    theirs = [tensor for tensor in tensors if (home := homes.get(id(tensor))) is not None and home.ready.is_set()]
    if theirs and may_share:
        joined = shared.join(loaded, theirs) or ()
        loaded.bundles = (*loaded.bundles, *(bundle for bundle in joined if bundle not in loaded.bundles))
    # What another model is just being loaded with is that one's: to wait for it could be to wait for each other.
    unready = {key for key, home in homes.items() if not home.ready.is_set()}
    return replace(inventory, tensors=tuple(f for f in inventory.tensors if id(f.tensor) not in unready))


def take_stock(loaded: Loaded[Any], inventory: Inventory) -> Stock:
    """Which bundle has what. New modules are guarded, odd tensors that were added or replaced are taken up."""
    stock = loaded.sort_out(inventory)
    if loaded.awake:
        _share_what_is_new(loaded, stock)
    if inventory.modules != loaded.guarded:
        loaded.gate.guard(inventory.modules)
        loaded.guarded = inventory.modules
    loaded.gate.guard_compiled(inventory.modules)
    known = {id(one.current): one for one in loaded.apart}
    loaded.apart = [
        known.pop(id(found.tensor)).found_at(found)
        if id(found.tensor) in known
        else Apart(found, why_apart(found.tensor) or "", as_loaded=False, on_device=loaded.awake)
        for found in stock.odd
    ]
    for gone in known.values():
        gone.forget()
    return stock


def _share_what_is_new(loaded: Loaded[Any], stock: Stock) -> None:
    """What was put into a model, and another that is awake has too, stays on the device for that one, also where the
    two have no bundle in common any more."""
    own = loaded.own
    packed = {id(packed.tensor) for packed in own.packing.tensors}
    new = {id(found.tensor) for found in stock.packable[own]} - packed
    for other, reach in stock.reach.items():
        theirs = reach & new
        if theirs and other.awake and other not in own.holders:
            own.holders[other], own.joined = theirs, True
            own.users.add(other)
            other.bundles = (*other.bundles, own)


def take_in(process: TorchProcess, loaded: Loaded[Any], bundle: Bundle, stock: Stock, *, may_share: bool) -> int:
    """Bring a bundle's mirror up to date; returns the bytes copied. Raises as `Bundle.take_in`.

    While others go on using it on the device, only what was added or replaced is taken in.
    """
    before = bundle.packing
    try:
        if bundle.users <= {loaded}:
            bundle.take_in(stock.packable[bundle])
        else:
            bundle.take_in_new(stock.packable[bundle])
    finally:
        if bundle.packing is not before and may_share:
            # Tensors are known by identity: none is let go before that is put right.
            process.shared.taken_in(bundle)
    return bundle.mirror.bytes_copied_back


def is_changed(loaded: Loaded[Any], stock: Stock) -> bool:
    """Whether unloading it would lose changes: of what is its alone. Nothing of the bundles is copied."""
    changed = bool(loaded.taken_out(stock.inventory))
    for bundle in loaded.bundles:
        if bundle.holders.keys() <= {loaded}:
            if loaded.awake:
                bundle.look(stock.packable[bundle])
            changed = changed or bundle.dirty
        else:
            changed = changed or bundle.differs(stock.alone[bundle])
    for one in loaded.apart:
        one.take_in()
    return changed or any(one.dirty for one in loaded.apart)


def changes_of(loaded: Loaded[Any], stock: Stock) -> tuple[str, ...]:
    """What is behind `is_changed`, by name. Nothing is copied."""
    changes = [*loaded.taken_out(stock.inventory)]
    for bundle in loaded.bundles:
        alone = bundle.holders.keys() <= {loaded}
        changes += bundle.changes((stock.packable if alone else stock.alone)[bundle], part=not alone)
    return merged((*changes, *(one.change for one in loaded.apart if one.dirty)))
