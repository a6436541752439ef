"""The weights of one model and the four moves: load, restore, offload, unload.

The idea: weights don't change while a model serves. An immutable host mirror of the arena stays in host
RAM from the load on, so an offload copies nothing and a restore is one streamed copy. What did change (a
merged LoRA) is found by the checksum taken on the device and copied back first. The checksum is checked
again after each restore, so a wake proves that what came back is what went away.

Every move either completes or leaves the weights in the tier where they were. One caller at a time: the
slot's worker. Nothing here knows of requests.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from dormouse_contract import Residency
from dormouse_contract.wire import ReleasedMethod

from ..errors import HostFull, IntegrityError, LoadFailed, ModelChanged
from .checksum import checksum
from .device import Arena, DeviceBackend, HostBuffer
from .gate import Gate, carries_gate
from .host_memory import HostMemory, read_host_memory
from .inventory import Inventory, take_inventory
from .packing import Packing, Region, pack

T = TypeVar("T")
UnloadChanges = Literal["refuse", "discard"]
_Fingerprint = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """Device bytes measured as given back, how, and what of the weights' bytes was not."""

    nbytes: int = 0
    residual: int = 0
    method: ReleasedMethod | None = None


@dataclass(slots=True)
class _Loaded(Generic[T]):
    """What exists from load to unload."""

    model: T
    gate: Gate
    packing: Packing
    mirror: HostBuffer
    # Of the mirror's bytes; None while the mirror is being rewritten or was torn by a failed copy.
    mirror_sum: int | None
    as_loaded: _Fingerprint
    dirty: bool = False
    arena: Arena | None = None
    # The regions as they lie in the arena; `packing` may be newer, for the next one.
    laid_out: tuple[Region, ...] = ()
    device_bytes: int = 0


@dataclass(slots=True)
class Speed:
    """Seconds that the last load and the last restore took; None before the first."""

    load_seconds: float | None = None
    restore_seconds: float | None = None
    offload_bytes_copied: int = 0


class Weights(Generic[T]):
    def __init__(
        self,
        name: str,
        load: Callable[[], T],
        device: DeviceBackend,
        *,
        modules: Callable[[T], tuple[torch.nn.Module, ...]] | None = None,
        frozen: bool = False,
        unload_changes: UnloadChanges = "refuse",
        warm_up: Callable[[T], object] | None = None,
        host_memory: Callable[[], HostMemory] = read_host_memory,
    ) -> None:
        self.device = device
        self.speed = Speed()
        self._name, self._load, self._modules = name, load, modules
        self._frozen, self._unload_changes, self._warm_up = frozen, unload_changes, warm_up
        self._host_memory = host_memory
        self._loaded: _Loaded[T] | None = None
        self._first_load: _Fingerprint | None = None

    @property
    def residency(self) -> Residency:
        if self._loaded is None:
            return Residency.UNLOADED
        return Residency.CPU if self._loaded.arena is None else Residency.GPU

    @property
    def model(self) -> T:
        return self._there().model

    @property
    def gate(self) -> Gate:
        return self._there().gate

    @property
    def dirty(self) -> bool:
        held = self._loaded
        return held is not None and held.dirty

    @property
    def device_bytes(self) -> int:
        held = self._loaded
        return held.device_bytes if held is not None else 0

    @property
    def host_bytes(self) -> int:
        held = self._loaded  # read once: an unload in its own thread may come between
        return held.packing.total_bytes if held is not None else 0

    def load(self) -> None:
        """Unloaded → CPU. Raises `LoadFailed` or `HostFull`; nothing is kept then."""
        started = time.monotonic()
        try:
            model = self._load()
        except BaseException as error:  # a load that calls sys.exit() must not take the worker along
            raise LoadFailed(f"load of model {self._name!r} raised {type(error).__name__}: {error}") from error
        if model is None:
            raise LoadFailed(f"load of model {self._name!r} returned None; is its `return` missing?")
        inventory = self._inventory(model)
        if any(carries_gate(module) for module in inventory.modules):
            raise LoadFailed(
                f"load of model {self._name!r} returned a module of before, whose weights Dormouse has moved; "
                "build it anew in each call"
            )
        packing = pack(inventory.tensors)
        elsewhere = [p.path for p in packing.tensors if p.tensor.device.type != "cpu"]
        if elsewhere:
            raise LoadFailed(
                f"load of model {self._name!r} put {elsewhere[0]!r} and {len(elsewhere) - 1} more on a device; "
                "return it on the CPU, Dormouse moves it"
            )
        mirror = self._filled_mirror(packing)
        as_loaded = _fingerprint(packing, mirror.bytes)
        if self._first_load not in (None, as_loaded) and self._unload_changes == "refuse":
            mirror.close()
            raise LoadFailed(
                f"load of model {self._name!r} gave other weights than the first time, so answers would change; "
                "make `load` deterministic, or register it with unload_changes='discard'"
            )
        self._first_load = as_loaded
        packing = packing.without_sources()
        packing.point_at_nothing()
        gate = Gate(self._name)
        gate.guard(inventory.modules)
        self._loaded = _Loaded(model, gate, packing, mirror, checksum(mirror.bytes), as_loaded)
        self.speed.load_seconds = time.monotonic() - started

    def restore(self) -> None:
        """CPU → GPU, verified. Raises `DeviceFull`, `CopyFailed` or `IntegrityError`; still on the CPU then."""
        held = self._there()
        started = time.monotonic()
        arena = self.device.allocate(held.packing.total_bytes)
        try:
            self.device.copy_in(held.mirror.bytes, arena)
            if not self._frozen and checksum(arena.bytes) != held.mirror_sum:
                raise IntegrityError(
                    f"model {self._name!r}: other bytes arrived on {self.device.name} than left it; "
                    "the copy was thrown away, ask again"
                )
            held.packing.point_at(arena.bytes)
            if self._warm_up is not None:
                self._run_warm_up(held, self._warm_up)
        except BaseException:
            held.packing.point_at_nothing()
            arena.close()
            raise
        held.arena, held.laid_out, held.device_bytes = arena, held.packing.regions, held.packing.total_bytes
        self.speed.restore_seconds = time.monotonic() - started

    def offload(self) -> Released:
        """GPU → CPU. Copies only when something changed. Raises `CopyFailed`, `HostFull`; still on the GPU then."""
        held = self._there()
        self._take_in_changes(held)
        return self._leave_device(held)

    def unload(self) -> Released:
        """CPU or GPU → Unloaded. Raises `ModelChanged` when changes would be lost; nothing was moved then."""
        held = self._there()
        if held.arena is not None:
            self._take_in_changes(held)
        if held.dirty and self._unload_changes == "refuse":
            raise ModelChanged(
                f"the weights of model {self._name!r} differ from what load gives, and unloading would lose that; "
                f"it stays on the {self.residency}. Save the changes and register with unload_changes='discard', "
                "or let it sleep in host RAM"
            )
        released = self._leave_device(held) if held.arena is not None else Released()
        held.gate.open = False
        held.mirror.close()
        self._loaded = None
        return released

    def _there(self) -> _Loaded[T]:
        if self._loaded is None:
            raise RuntimeError(f"model {self._name!r} is not loaded")
        return self._loaded

    def _inventory(self, model: T) -> Inventory:
        return take_inventory(model, self._modules(model) if self._modules is not None else None)

    def _filled_mirror(self, packing: Packing) -> HostBuffer:
        room = self._host_memory().room
        if packing.total_bytes > room:
            raise HostFull(packing.total_bytes, room)
        mirror = self.device.host_buffer(packing.total_bytes)
        try:
            packing.gather(mirror.bytes)
        except BaseException:
            mirror.close()
            raise
        return mirror

    def _run_warm_up(self, held: _Loaded[T], warm_up: Callable[[T], object]) -> None:
        held.gate.open = True
        try:
            warm_up(held.model)
            self.device.synchronize()
        except Exception as error:
            raise LoadFailed(f"warm_up of model {self._name!r} raised {type(error).__name__}: {error}") from error
        finally:
            held.gate.open = False

    def _take_in_changes(self, held: _Loaded[T]) -> None:
        """Bring the mirror up to date with the device. The device's bytes are never written."""
        assert held.arena is not None  # noqa: S101 - both callers are on the GPU
        # The app may have used streams of its own: their writes are part of the weights, and their reads need them.
        self.device.synchronize()
        inventory = self._inventory(held.model)
        base = held.arena.bytes.untyped_storage().data_ptr()
        same = [id(f.tensor) for f in inventory.tensors] == [id(p.tensor) for p in held.packing.tensors]
        if not same or not all(packed.still_packed_at(base) for packed in held.packing.tensors):
            self._repack(held, inventory)
            return
        self.speed.offload_bytes_copied = 0
        if self._frozen and held.mirror_sum is not None:
            return
        device_sum = checksum(held.arena.bytes)
        if device_sum == held.mirror_sum:
            return
        held.mirror_sum = None
        self.device.copy_out(held.arena, held.mirror.bytes)
        self.speed.offload_bytes_copied = held.packing.total_bytes
        self._trust_mirror(held, device_sum)

    def _repack(self, held: _Loaded[T], inventory: Inventory) -> None:
        """Tensors were replaced or added (`weight.data = other`): lay everything out anew.

        The tensors stay where they are, so the model goes on working if it must stay on the device.
        """
        assert held.arena is not None  # noqa: S101 - the caller is on the GPU
        packing = pack(inventory.tensors, held.arena.bytes, held.laid_out)
        mirror = self._filled_mirror(packing)
        held.mirror.close()
        held.packing, held.mirror, held.mirror_sum = packing.without_sources(), mirror, checksum(mirror.bytes)
        held.gate.guard(inventory.modules)
        self.speed.offload_bytes_copied = packing.total_bytes
        held.dirty = _fingerprint(packing, mirror.bytes) != held.as_loaded

    def _trust_mirror(self, held: _Loaded[T], device_sum: int) -> None:
        arrived = checksum(held.mirror.bytes)
        if arrived != device_sum:
            raise IntegrityError(
                f"model {self._name!r}: other bytes arrived in host RAM than are on {self.device.name}; "
                "it stays on the GPU, ask again"
            )
        held.mirror_sum = arrived
        held.dirty = _fingerprint(held.packing, held.mirror.bytes) != held.as_loaded

    def _leave_device(self, held: _Loaded[T]) -> Released:
        assert held.arena is not None  # noqa: S101 - both callers are on the GPU
        nbytes = held.arena.bytes.numel()
        held.packing.point_at_nothing()
        before, method = self.device.held_bytes()
        # From here on the weights are in host RAM, also when the device refuses to take its memory back.
        arena, held.arena, held.device_bytes = held.arena, None, 0
        arena.close()
        after, _ = self.device.held_bytes()
        given_back = min(max(0, before - after), nbytes)
        return Released(given_back, nbytes - given_back, method)


def _fingerprint(packing: Packing, mirror: torch.Tensor) -> _Fingerprint:
    """What `Dirty` covers: how each parameter and buffer views its storage, and the checksums of these storages."""
    sums = []
    for region in packing.regions:
        if region.saved and region.nbytes:
            padded = -(-region.nbytes // 8) * 8
            sums.append(checksum(mirror[region.offset : region.offset + padded]))
    views = [
        (p.path, p.tensor.dtype, p.offset - p.region.offset // p.tensor.element_size(), p.shape, p.stride)
        for p in packing.tensors
        if p.saved
    ]
    return (*sums, *views)
