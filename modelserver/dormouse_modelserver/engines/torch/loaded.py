"""What exists of one model from its load to its unload."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from .checks.gate import Gate
from .layout.apart import Apart, why_apart
from .layout.changes import removed
from .layout.inventory import Found, Inventory
from .layout.matching import as_found
from .sharing.bundle import Bundle

T = TypeVar("T")


@dataclass(slots=True)
class Stock:
    """The tensors that a model has at one moment: for each of its bundles what belongs to it, and those that can't
    be packed. alone: of each bundle, what no other model has. reach: what those have (by id) that share with it."""

    inventory: Inventory
    packable: dict[Bundle, list[Found]]
    alone: dict[Bundle, list[Found]]
    odd: list[Found]
    reach: "dict[Loaded[Any], frozenset[int]]"


@dataclass(eq=False, slots=True)
class Loaded(Generic[T]):
    """own: the bundle that takes up what is the model's alone. bundles: that one and those shared with others.

    look: takes the model's inventory. awake: its weights are on the device, for it.
    saved_at_load: its parameters and buffers, by path.
    guarded: the modules that have its gate. says_where: attributes that named the device when it was last there.
    """

    model: T
    look: Callable[[], Inventory]
    gate: Gate
    own: Bundle
    bundles: tuple[Bundle, ...] = ()
    saved_at_load: tuple[str, ...] = ()
    apart: list[Apart] = field(default_factory=list)
    opaque: tuple[str, ...] = ()
    awake: bool = False
    guarded: tuple[torch.nn.Module, ...] = ()
    says_where: tuple[str, ...] = ()

    def reach(self) -> frozenset[int]:
        return frozenset(id(found.tensor) for found in self.look().tensors)

    def taken_out(self, inventory: Inventory) -> tuple[str, ...]:
        """The parameters and buffers that it had when it was loaded, and has under no name now, in words. A bundle
        knows of what is in it; which of its holders something was taken out of, it does not."""
        there = {path for found in inventory.tensors for path in found.paths}
        return tuple(removed(path) for path in self.saved_at_load if path not in there)

    def regroup(self, bundle: Bundle, parts: tuple[Bundle, ...]) -> None:
        """A shared bundle was split; see `SharedBundles`."""
        self.bundles = (*(kept for kept in self.bundles if kept is not bundle), *parts)
        if self.own is bundle:
            # What the model has alone is in the first part: the second is what another wanted.
            self.own = parts[0]

    def sort_out(self, inventory: Inventory) -> Stock:
        """What is now in the model. The locks of its bundles are held.

        A tensor that was put into a shared module belongs where the module's other tensors are, not to the model
        that happens to look first: the others need it on the device when this one does not.
        """
        if self.bundles == (self.own,) and not self.own.joined:
            return self._sort_out_alone(inventory)
        homes = {id(packed.tensor): bundle for bundle in self.bundles for packed in bundle.packing.tensors}
        shared = {
            bundle: {id(f.tensor): f for f in as_found(bundle.packing)} for bundle in self.bundles if bundle.joined
        }
        reach = {holder: holder.reach() for bundle in self.bundles for holder in bundle.holders if holder is not self}
        moved_apart = {id(one.current) for one in self.apart}
        stock = Stock(
            inventory, {bundle: [] for bundle in self.bundles}, {bundle: [] for bundle in self.bundles}, [], reach
        )
        new: dict[int, list[tuple[Found, list[Loaded[Any]]]]] = {}
        by_storage = {bundle.storage: bundle for bundle in self.bundles if bundle.on_device}
        for found in inventory.tensors:
            key = id(found.tensor)
            if key not in homes and (key in moved_apart or why_apart(found.tensor) is not None):
                stock.odd.append(found)
                continue
            others = [holder for holder, theirs in reach.items() if key in theirs]
            if key not in homes:
                new.setdefault(_storage_of(found.tensor), []).append((found, others))
                continue
            home = homes[key]
            by_storage.setdefault(_storage_of(found.tensor), home)  # it may have got other bytes than its arena's
            # By the name that it was packed under: each of the models may have another.
            named = shared.get(home, {}).get(key, found)
            stock.packable[home].append(named)
            if not others:
                stock.alone[home].append(named)
        for storage, tensors in new.items():
            # Those that share bytes go together, or they would share none after the next wake.
            home = by_storage.get(storage) or self._home_with({other for _, others in tensors for other in others})
            stock.packable[home] += [found for found, _ in tensors]
            stock.alone[home] += [found for found, others in tensors if not others]
        for bundle, packed in shared.items():
            mine = {id(found.tensor) for found in stock.packable[bundle]}
            theirs = frozenset[int]().union(*(reach[holder] for holder in bundle.holders if holder is not self))
            stock.packable[bundle] += [found for key, found in packed.items() if key in theirs - mine]
        return stock

    def _home_with(self, others: set["Loaded[Any]"]) -> Bundle:
        """Where new tensors go that these have as well: none of them may find one asleep while it is awake."""
        for wanted in (others, {other for other in others if other.awake}):
            theirs = [bundle for bundle in self.bundles if wanted and bundle.holders.keys() >= wanted]
            if theirs:
                return min(theirs, key=lambda bundle: len(bundle.holders))
        return self.own

    def _sort_out_alone(self, inventory: Inventory) -> Stock:
        """The same for a model with one bundle, not shared, which is nearly every one: a demotion waits for it."""
        packed = {id(packed.tensor) for packed in self.own.packing.tensors}
        moved_apart = {id(one.current) for one in self.apart}
        mine: list[Found] = []
        odd: list[Found] = []
        for found in inventory.tensors:
            key = id(found.tensor)
            fits = key in packed or (key not in moved_apart and why_apart(found.tensor) is None)
            (mine if fits else odd).append(found)
        return Stock(inventory, {self.own: mine}, {self.own: mine}, odd, {})

    @property
    def dirty(self) -> bool:
        return any(bundle.dirty for bundle in self.bundles) or any(one.dirty for one in self.apart)

    @property
    def device_bytes(self) -> int:
        if not self.awake:
            return 0
        return sum(bundle.device_bytes for bundle in self.bundles) + sum(one.device_bytes for one in self.apart)

    @property
    def host_bytes(self) -> int:
        return sum(bundle.host_bytes for bundle in self.bundles) + sum(one.nbytes for one in self.apart)


def _storage_of(tensor: torch.Tensor) -> int:
    with torch._C.DisableTorchFunctionSubclass():
        return int(tensor.untyped_storage()._cdata)
