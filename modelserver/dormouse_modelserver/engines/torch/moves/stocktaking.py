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
    for bundle in loaded.bundles:
        _note_taken_out(bundle, stock)
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


def take_in(process: TorchProcess, bundle: Bundle, stock: Stock, *, may_share: bool, whole: bool = True) -> int:
    """Bring a bundle's mirror up to date; returns the bytes copied. Raises as `Bundle.take_in`.

    whole: False while others go on using it on the device; then only what was added or replaced is taken in.
    """
    before = bundle.packing
    try:
        if whole:
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
    changed = bool(_taken_out(loaded, stock))
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


def _note_taken_out(bundle: Bundle, stock: Stock) -> None:
    """What one model alone had of a bundle as it was loaded, and has no more. Once that is laid out anew, split or
    shared, nobody could say whose it was."""
    kept = {id(found.tensor) for found in stock.packable[bundle]}
    for packed in bundle.packing.tensors:
        key = id(packed.tensor)
        if packed.saved and key not in kept:
            had = [holder for holder, part in bundle.holders.items() if part is None or key in part]
            if len(had) == 1 and packed.path in bundle.as_loaded:
                had[0].taken_out.add(packed.path)


def _taken_out(loaded: Loaded[Any], stock: Stock) -> set[str]:
    there = (path for found in stock.inventory.tensors for path in found.paths)
    return loaded.taken_out.difference(there) if loaded.taken_out else set()


def changes_of(loaded: Loaded[Any], stock: Stock) -> tuple[str, ...]:
    """What is behind `is_changed`, by name. Nothing is copied."""
    changes = [f"{path!r} (removed)" for path in sorted(_taken_out(loaded, stock))]
    for bundle in loaded.bundles:
        alone = bundle.holders.keys() <= {loaded}
        changes += bundle.changes((stock.packable if alone else stock.alone)[bundle], part=not alone)
    return merged((*changes, *(one.change for one in loaded.apart if one.dirty)))
