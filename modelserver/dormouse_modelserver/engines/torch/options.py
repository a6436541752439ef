"""What the user says of a model's weights, and what is told of their moves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from dormouse_contract.wire import ReleasedMethod

from .checks.canary import Canary
from .sharing.bundle import MirrorMode

T = TypeVar("T")
UnloadChanges = Literal["refuse", "discard"]


@dataclass(frozen=True, slots=True)
class WeightsOptions(Generic[T]):
    """What the user says of a model; see `ResidencyManager.register`."""

    modules: Callable[[T], tuple[torch.nn.Module, ...]] | None = None
    frozen: bool = False
    unload_changes: UnloadChanges = "refuse"
    mirror: MirrorMode = "auto"
    warm_up: Callable[[T], object] | None = None
    canary: Canary | None = None
    stable_addresses: bool = False


@dataclass(slots=True)
class Speed:
    """What the last moves took; None before the first. restore_seconds: the whole wake from host RAM."""

    load_seconds: float | None = None
    restore_seconds: float | None = None
    warm_up_seconds: float = 0.0
    offload_bytes_copied: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """Device bytes measured as given back, how, and what of the weights' bytes was not."""

    nbytes: int = 0
    residual: int = 0
    method: ReleasedMethod | None = None
