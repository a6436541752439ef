"""What exists of one model from its load to its unload."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from .apart import Apart, why_apart
from .bundle import Bundle
from .gate import Gate
from .inventory import Found, Inventory

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Loaded(Generic[T]):
    """own: the bundle that takes up what is the model's alone. bundles: that one and those shared with others.

    awake: its weights are on the device, for it.
    """

    model: T
    gate: Gate
    own: Bundle
    bundles: tuple[Bundle, ...] = ()
    apart: list[Apart] = field(default_factory=list)
    awake: bool = False

    def regroup(self, bundle: Bundle, parts: tuple[Bundle, ...]) -> None:
        """A shared bundle was split; see `SharedBundles`."""
        self.bundles = (*(kept for kept in self.bundles if kept is not bundle), *parts)
        if self.own is bundle:
            # What the model has alone is in the first part: the second is what another wanted.
            self.own = parts[0]

    def sort_out(self, inventory: Inventory) -> tuple[list[Found], list[Found]]:
        """What is now in the model: tensors for its own bundle, and those that can't be packed."""
        shared = {id(p.tensor) for bundle in self.bundles if bundle is not self.own for p in bundle.packing.tensors}
        mine = [found for found in inventory.tensors if id(found.tensor) not in shared]
        packable = [found for found in mine if why_apart(found.tensor) is None]
        return packable, [found for found in mine if why_apart(found.tensor) is not None]

    def guard(self, modules: tuple[torch.nn.Module, ...]) -> None:
        self.gate.guard(modules)

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
