"""What the user says of a model's weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from .checks.canary import Canary
from .sharing.bundle import MirrorMode

T = TypeVar("T")
UnloadChanges = Literal["refuse", "discard"]


@dataclass(frozen=True, slots=True)
class WeightsOptions(Generic[T]):
    """What the user says of a model; see `ResidencyManager.register`."""

    modules: Callable[[T], tuple[object, ...]] | None = None
    frozen: bool = False
    unload_changes: UnloadChanges = "refuse"
    mirror: MirrorMode = "auto"
    warm_up: Callable[[T], object] | None = None
    canary: Canary | None = None
    stable_addresses: bool = False
