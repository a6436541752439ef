"""The weights of one model and the four moves: load, restore, offload, unload.

What moves are bundles (see `bundle`): one of the model's own, those that it shares with other models, and the few
tensors that can't be packed. Every move either completes or leaves the weights in the tier where they were. One caller
at a time: the slot's worker. Nothing here knows of requests.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from dormouse_contract import Residency
from dormouse_contract.wire import ReleasedMethod

from ..errors import DeviceFull, DormouseError, LoadFailed, ModelChanged
from .apart import Apart, report, why_apart
from .bundle import Bundle, MirrorMode
from .canary import Canary, CanaryCheck
from .device import Arena, DeviceBackend
from .engine import Engine
from .filling import Filling
from .fingerprint import Fingerprint
from .gate import Gate
from .inventory import Found, take_inventory
from .loaded import Loaded
from .loading import Fresh, load_fresh, refuse_what_can_not_be_moved
from .pace import Path
from .packing import pack
from .sharing import locked

T = TypeVar("T")
UnloadChanges = Literal["refuse", "discard"]
_log = logging.getLogger("dormouse")


@dataclass(frozen=True, slots=True)
class Released:
    """Device bytes measured as given back, how, and what of the weights' bytes was not."""

    nbytes: int = 0
    residual: int = 0
    method: ReleasedMethod | None = None


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


class Weights(Generic[T]):
    def __init__(
        self, name: str, load: Callable[[], T], engine: Engine, options: WeightsOptions[T] | None = None
    ) -> None:
        self.speed = Speed()
        self._name, self._load, self._engine = name, load, engine
        self._options: WeightsOptions[T] = options or WeightsOptions()
        self._canary = CanaryCheck(self._options.canary) if self._options.canary is not None else None
        self._loaded: Loaded[T] | None = None
        self._first_load: Fingerprint | None = None
        self._reported = False

    # What it is -----------------------------------------------------------------------------------

    @property
    def residency(self) -> Residency:
        loaded = self._loaded
        if loaded is None:
            return Residency.UNLOADED
        return Residency.GPU if loaded.awake else Residency.CPU

    @property
    def device(self) -> DeviceBackend:
        return self._engine.device

    @property
    def model(self) -> T:
        return self._there().model

    @property
    def gate(self) -> Gate:
        return self._there().gate

    @property
    def dirty(self) -> bool:
        loaded = self._loaded  # read once: an unload in its own thread may come between
        return loaded is not None and loaded.dirty

    @property
    def device_bytes(self) -> int:
        loaded = self._loaded
        return loaded.device_bytes if loaded is not None else 0

    @property
    def host_bytes(self) -> int:
        loaded = self._loaded
        return loaded.host_bytes if loaded is not None else 0

    @property
    def moved_apart(self) -> tuple[str, ...]:
        """The tensors that can't be packed and are moved on their own, each with the reason."""
        loaded = self._loaded
        return report(loaded.apart) if loaded is not None else ()

    def estimate_seconds(self) -> float | None:
        """Until the weights are on the GPU from where they are; None until it was measured."""
        loaded, speed, pace = self._loaded, self.speed, self._engine.pace
        if loaded is None:
            known = speed.load_seconds is not None and speed.restore_seconds is not None
            return (speed.load_seconds or 0.0) + (speed.restore_seconds or 0.0) if known else None
        if loaded.awake:
            return 0.0
        nbytes = sum(bundle.nbytes for bundle in loaded.bundles if not bundle.on_device)
        copy, check = pace.seconds(Path.RESTORE, nbytes), pace.seconds(Path.VERIFY, nbytes)
        if copy is None:
            return None
        return copy + (0.0 if self._options.frozen else check or 0.0) + speed.warm_up_seconds

    # Towards the GPU ------------------------------------------------------------------------------

    def wake(self) -> None:
        """From wherever the weights are → GPU. Raises as `load` and `restore` do.

        Still in the tier of before then; or on the CPU, when the load was done and only GPU room lacked.
        """
        if self._loaded is not None:
            self.restore()
            return
        self._load_fresh(may_skip_mirror=True)
        loaded = self._there()
        try:
            self.restore()
        except DeviceFull:
            if not loaded.own.host_bytes and loaded.own.nbytes:
                self._unload(loaded)  # it was on its way to the device without a mirror
            raise
        except BaseException:
            self._unload(loaded)
            raise

    def load(self) -> None:
        """Unloaded → CPU. Raises `LoadFailed` or `HostFull`; nothing is kept then."""
        self._load_fresh(may_skip_mirror=False)

    def _load_fresh(self, *, may_skip_mirror: bool) -> None:
        started = time.monotonic()
        fresh = load_fresh(self._name, self._load, self._options.modules)
        loaded = Loaded(fresh.model, Gate(self._name), self._bundle())
        try:
            self._take_up(loaded, fresh, may_skip_mirror)
        except OSError as error:
            self._unload(loaded)
            raise LoadFailed(f"the weights of model {self._name!r} can't be read: {error}") from error
        except BaseException:
            self._unload(loaded)
            raise
        loaded.gate.guard(fresh.inventory.modules)
        self._loaded = loaded
        self.speed.load_seconds = time.monotonic() - started
        if loaded.apart and not self._reported:
            self._reported = True
            for line in report(loaded.apart):
                _log.warning("model %s: moved on its own, not in the arena: %s", self._name, line)

    def _take_up(self, loaded: Loaded[T], fresh: Fresh[T], may_skip_mirror: bool) -> None:
        shared = self._engine.shared
        known = [found.tensor for found in fresh.inventory.tensors if shared.of(found.tensor) is not None]
        joined = shared.join(loaded, known)
        if joined is None:
            raise LoadFailed(
                f"model {self._name!r} shares modules with a model that was unloaded at the same moment; ask again"
            )
        loaded.bundles = (loaded.own, *joined)
        packable, odd = loaded.sort_out(fresh.inventory)
        refuse_what_can_not_be_moved(self._name, fresh.inventory, packable + odd)
        loaded.apart = [Apart(found, why_apart(found.tensor) or "") for found in odd]
        packing, sources = pack(packable)
        filling = Filling(packing, sources, fresh.files)
        del sources, fresh  # what `filling` lets go of is freed at once
        own, engine = loaded.own, self._engine
        with own.lock:
            own.packing = packing
            if may_skip_mirror and self._skips_mirror(packing.total_bytes):
                own.claim(loaded)
                own.fill_device(filling, engine.with_room(self._name, own.allocate))
            else:
                own.fill_mirror(filling)
            own.holders[loaded] = None
            self._compare_with_first_load(own)
        if not self._options.stable_addresses:
            shared.add(own)

    def _bundle(self) -> Bundle:
        engine, options = self._engine, self._options
        return Bundle(
            self._name,
            engine.device,
            engine.host,
            engine.pace,
            frozen=options.frozen,
            mirror=options.mirror,
            stable=options.stable_addresses,
        )

    def _skips_mirror(self, nbytes: int) -> bool:
        mode = self._options.mirror
        return mode == "drop" or (mode == "auto" and self._engine.host.room < nbytes)

    def _compare_with_first_load(self, own: Bundle) -> None:
        first = self._first_load
        if first is None or self._options.unload_changes == "discard":
            return
        now = own.as_loaded
        if any(now[path] != first[path] for path in now.keys() & first.keys()):
            raise LoadFailed(
                f"load of model {self._name!r} gave other weights than the first time, so answers would change; "
                "make `load` deterministic, or register it with unload_changes='discard'"
            )

    def restore(self) -> None:
        """CPU → GPU, verified. Raises `DeviceFull`, `CopyFailed`, `IntegrityError` or `LoadFailed` (the warm-up).

        Still on the CPU then, and the device's memory is where it was.
        """
        loaded = self._there()
        started = time.monotonic()
        while not all(bundle.claim(loaded) for bundle in loaded.bundles):
            pass  # one was split as we looked; `bundles` has its parts now
        try:
            self._bring(loaded.bundles)
            for one in loaded.apart:
                self._engine.with_room(self._name, lambda one=one: one.send(self._engine.device))  # type: ignore[misc]
            self._prove(loaded)
        except BaseException:
            self._leave(loaded)
            raise
        loaded.awake = True
        for bundle in loaded.bundles:
            bundle.settle(loaded)
        self.speed.restore_seconds = time.monotonic() - started

    def _bring(self, bundles: tuple[Bundle, ...]) -> None:
        """No lock and no memory is held while room is made: whoever leaves for it may need the same bundles."""
        missing = [bundle for bundle in bundles if not bundle.on_device]
        arenas = self._engine.with_room(self._name, lambda: _allocate(missing))
        try:
            for bundle in bundles:
                with bundle.lock:
                    if bundle in arenas and not bundle.on_device:
                        bundle.bring(arenas[bundle])
                        bundle.commit(arenas.pop(bundle))
        finally:
            for arena in arenas.values():
                arena.close()

    def _prove(self, loaded: Loaded[T]) -> None:
        """Warm up and ask the canary, with nobody else let in."""
        if self._options.warm_up is None and self._canary is None:
            return
        started, what = time.monotonic(), "warm_up"
        loaded.gate.open = True
        try:
            if self._options.warm_up is not None:
                self._options.warm_up(loaded.model)
            what = "canary"
            if self._canary is not None:
                self._canary.ask(loaded.model, self._name)
            self._engine.device.synchronize()
        except DormouseError:
            raise
        except Exception as error:
            raise LoadFailed(f"{what} of model {self._name!r} raised {type(error).__name__}: {error}") from error
        finally:
            loaded.gate.open = False
        self.speed.warm_up_seconds = time.monotonic() - started

    # Away from the GPU ----------------------------------------------------------------------------

    def offload(self) -> Released:
        """GPU → CPU; what changed is copied. Raises `CopyFailed`, `HostFull`, `IntegrityError`; still there then."""
        loaded = self._there()
        self._engine.device.synchronize()  # on streams of the app's own, too: their writes are part of the weights
        packable = self._take_stock(loaded)
        with self._bundles_of(loaded):
            for bundle in loaded.bundles:
                if bundle.users <= {loaded}:
                    bundle.take_in(packable if bundle is loaded.own else bundle.as_found())
                elif bundle is loaded.own:
                    bundle.take_in_new(packable)
            if not self._options.stable_addresses:
                self._engine.shared.add(loaded.own)
            self.speed.offload_bytes_copied = sum(bundle.bytes_copied_back for bundle in loaded.bundles)
            for one in loaded.apart:
                one.take_in()
        return self._leave(loaded)

    def unload(self) -> Released:
        """CPU or GPU → Unloaded. Raises `ModelChanged` when changes would be lost; nothing was moved then."""
        loaded = self._there()
        if loaded.awake:
            self._engine.device.synchronize()
        packable = self._take_stock(loaded) if loaded.awake else None
        with self._bundles_of(loaded):
            mine = [bundle for bundle in loaded.bundles if bundle.holders.keys() <= {loaded}]
            for bundle in loaded.bundles if packable is not None else ():
                found = packable if bundle is loaded.own and packable is not None else bundle.as_found()
                if bundle not in mine and bundle.users <= {loaded}:
                    bundle.take_in(found)
                elif bundle in mine and self._options.unload_changes == "refuse":
                    bundle.look(found)
            for one in loaded.apart:
                one.take_in()
            changed = any(bundle.dirty for bundle in mine) or any(one.dirty for one in loaded.apart)
            if changed and self._options.unload_changes == "refuse":
                raise ModelChanged(
                    f"the weights of model {self._name!r} differ from what load gives, and unloading would lose that; "
                    f"it stays on the {self.residency}. Save the changes and register with unload_changes='discard', "
                    "or let it sleep in host RAM"
                )
            if self._first_load is None and self._options.unload_changes == "refuse":
                self._first_load = dict(loaded.own.as_loaded)
        return self._unload(loaded)

    def _take_stock(self, loaded: Loaded[T]) -> list[Found]:
        """What the model has now: new modules are guarded, new odd tensors taken up; the rest is for its own bundle."""
        modules = self._options.modules
        inventory = take_inventory(loaded.model, modules(loaded.model) if modules is not None else None)
        packable, odd = loaded.sort_out(inventory)
        loaded.gate.guard(inventory.modules)
        known = {id(one.current): one for one in loaded.apart}
        loaded.apart = [
            known.get(id(found.tensor)) or Apart(found, why_apart(found.tensor) or "", on_device=True) for found in odd
        ]
        return packable

    def _leave(self, loaded: Loaded[T], *, for_good: bool = False) -> Released:
        """Off the device, as far as nobody else needs it there; measured."""
        engine, was_there = self._engine, loaded.awake
        with engine.accounting:
            before, method = engine.device.held_bytes()
            held = sum(bundle.device_bytes for bundle in loaded.bundles)
            held += sum(one.device_bytes for one in loaded.apart)
            for one in loaded.apart:
                one.leave()
            for bundle in loaded.bundles:
                with bundle.lock:
                    if bundle.disclaim(loaded):
                        bundle.leave()
            after, _ = engine.device.held_bytes()
        loaded.awake = False
        for bundle in loaded.bundles:
            with bundle.lock:
                if for_good:
                    engine.shared.leave(loaded, bundle)
                if not bundle.superseded:
                    engine.shared.split_if_due(bundle)
        given_back = min(max(0, before - after), held)
        return Released(given_back, held - given_back, method) if was_there else Released()

    @contextmanager
    def _bundles_of(self, loaded: Loaded[T]) -> Iterator[None]:
        """Nobody else moves or splits the model's bundles within the block."""
        while True:
            bundles = loaded.bundles
            with locked(bundles):
                if bundles is loaded.bundles:
                    yield
                    return

    def _unload(self, loaded: Loaded[T]) -> Released:
        loaded.gate.retire()
        self._loaded = None
        return self._leave(loaded, for_good=True)

    def _there(self) -> Loaded[T]:
        if self._loaded is None:
            raise RuntimeError(f"model {self._name!r} is not loaded")
        return self._loaded


def _allocate(bundles: list[Bundle]) -> dict[Bundle, Arena]:
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
            need = sum(bundle.nbytes for bundle in bundles)
            raise DeviceFull(error.device, need, error.room_bytes + got) from error
        raise
    return arenas
