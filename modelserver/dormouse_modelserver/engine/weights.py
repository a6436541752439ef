"""The weights of one model and the four moves: load, restore, offload, unload.

What moves are bundles (see `bundle`): one of the model's own, those that it shares with other models, and the few
tensors that can't be packed. Every move either completes or leaves the weights in the tier where they were. One caller
at a time: the slot's worker. Nothing here knows of requests.
"""

import gc
import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from dormouse_contract import Residency
from dormouse_contract.wire import ReleasedMethod

from ..errors import DeviceFull, DormouseError, HostFull, LoadFailed, ModelChanged, TransitionFailed
from .apart import Apart, report, why_apart
from .bundle import Bundle, MirrorMode
from .canary import Canary, CanaryCheck
from .device import Arena, DeviceBackend
from .engine import Engine
from .filling import Filling
from .fingerprint import Fingerprint
from .gate import Gate
from .inventory import Inventory, take_inventory
from .loaded import Loaded, Stock
from .loading import Fresh, LetGo, load_fresh, refuse_what_can_not_be_moved
from .pace import Path
from .packing import pack
from .sharing import locked

T = TypeVar("T")
UnloadChanges = Literal["refuse", "discard"]
_log = logging.getLogger("dormouse")

# Between the attempts to load when `load` gave a module that has just been let go.
_PATIENCE_SECONDS = (0.02, 0.2)


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
        self._first_whole: tuple[object, ...] | None = None
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
        return (*report(loaded.apart), *loaded.opaque) if loaded is not None else ()

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
        for patience_seconds in _PATIENCE_SECONDS:
            with suppress(LetGo):
                self._load_once(may_skip_mirror)
                return
            # Another model was unloaded as `load` took up a module of its from a cache. As soon as nobody knows that
            # module any more, `load` makes it anew; who used it a moment ago may still be about to return.
            gc.collect()
            time.sleep(patience_seconds)
        self._load_once(may_skip_mirror)

    def _load_once(self, may_skip_mirror: bool) -> None:
        started = time.monotonic()
        fresh = load_fresh(self._name, self._load, self._options.modules)
        own = self._bundle()
        loaded = Loaded(fresh.model, self._look_at(fresh.model), Gate(self._name), own, (own,))
        loaded.opaque = fresh.inventory.opaque
        try:
            self._take_up(loaded, fresh, may_skip_mirror)
        except OSError as error:
            self._unload(loaded)
            raise LoadFailed(f"the weights of model {self._name!r} can't be read: {error}") from error
        except BaseException:
            self._unload(loaded)
            raise
        self._loaded = loaded
        self.speed.load_seconds = time.monotonic() - started
        if not self._reported:
            self._reported = True
            for line in self.moved_apart:
                _log.warning("model %s: not in the arena: %s", self._name, line)

    def _look_at(self, model: T) -> Callable[[], Inventory]:
        modules = self._options.modules
        return lambda: take_inventory(model, modules(model) if modules is not None else None)

    def _take_up(self, loaded: Loaded[T], fresh: Fresh[T], may_skip_mirror: bool) -> None:
        shared, options, own = self._engine.shared, self._options, loaded.own
        packable = [found for found in fresh.inventory.tensors if why_apart(found.tensor) is None]
        odd = [found for found in fresh.inventory.tensors if why_apart(found.tensor) is not None]
        known = shared.enter(None if options.stable_addresses else own, [found.tensor for found in packable])
        joined = shared.join(loaded, known)
        if joined is None:
            raise LetGo(self._name)
        loaded.bundles = (own, *joined)
        if joined and options.stable_addresses:
            raise LoadFailed(
                f"model {self._name!r} is registered with stable_addresses and has modules that another model has too; "
                "give it its own, or register it without"
            )
        for bundle in joined:
            with bundle.lock:
                bundle.suit(frozen=options.frozen, mirror=options.mirror)
        theirs = {id(tensor) for tensor in known}
        packable = [found for found in packable if id(found.tensor) not in theirs]
        refuse_what_can_not_be_moved(self._name, fresh.inventory, packable + odd)
        loaded.apart = [Apart(found, why_apart(found.tensor) or "") for found in odd]
        packing, sources = pack(packable)
        filling = Filling(packing, sources, fresh.files)
        loaded.gate.guard(fresh.inventory.modules)  # first: by this a module that was let go half-way is known
        del sources, fresh  # what `filling` lets go of is freed at once
        with own.lock:
            own.packing = packing
            own.holders[loaded] = None
            self._fill(loaded, filling, may_skip_mirror)
            self._compare_with_first_load(own)
        if not options.stable_addresses:
            shared.add(own)

    def _fill(self, loaded: Loaded[T], filling: Filling, may_skip_mirror: bool) -> None:
        own, engine, mode = loaded.own, self._engine, self._options.mirror
        if not may_skip_mirror or mode == "keep":
            own.fill_mirror(filling)
            return
        with ExitStack() as stack:
            if mode == "auto":
                with suppress(HostFull):
                    promise = stack.enter_context(engine.host.promised(own.nbytes, at_any_price=False))
                    own.fill_mirror(filling, promise)
                    return
        own.claim(loaded)
        own.fill_device(filling, engine.with_room(self._name, own.allocate))

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

    def _compare_with_first_load(self, own: Bundle) -> None:
        first, whole = self._first_load, own.whole
        if self._first_whole is None:
            self._first_whole = whole
        elif whole == self._first_whole:
            return  # all bytes are as they were, so there is no need to look at each tensor's
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
        try:
            self._bring(loaded)
            for one in loaded.apart:
                self._engine.with_room(self._name, lambda one=one: one.send(self._engine.device))  # type: ignore[misc]
            self._prove(loaded)
        except BaseException:
            self._roll_back(loaded)
            raise
        loaded.awake = True
        for bundle in loaded.bundles:
            bundle.settle(loaded)
        self.speed.restore_seconds = time.monotonic() - started

    def _bring(self, loaded: Loaded[T]) -> None:
        arenas = self._claim_and_allocate(loaded)
        try:
            for bundle in loaded.bundles:
                with bundle.lock:
                    if bundle in arenas and not bundle.on_device:
                        bundle.bring(arenas[bundle])
                        bundle.commit(arenas.pop(bundle))
        finally:
            for arena in arenas.values():
                arena.close()

    def _claim_and_allocate(self, loaded: Loaded[T]) -> dict[Bundle, Arena]:
        """No lock, no memory and no claim is held while room is made: whoever leaves for it may need the same bundles,
        and of a bundle that is claimed as a whole, no part can leave."""
        for bundle in loaded.bundles:
            with bundle.lock:
                self._engine.shared.split_if_due(bundle)
        while True:
            while not all(bundle.claim(loaded) for bundle in loaded.bundles):
                pass  # one was split as we looked; `bundles` has its parts now
            try:
                with self._engine.accounting:
                    return _allocate(loaded, [bundle for bundle in loaded.bundles if not bundle.on_device])
            except DeviceFull as full:
                if loaded.own.host_bytes or not loaded.own.on_device:  # it was not loaded there without a mirror
                    self._roll_back(loaded)
                if not self._engine.make_room(self._name, full):
                    raise

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
        inventory = self._look(loaded)
        with self._bundles_of(loaded):
            stock = self._take_stock(loaded, inventory)
            self.speed.offload_bytes_copied = 0
            with self._mirrors_kept(loaded):
                for bundle in loaded.bundles:
                    if bundle.users <= {loaded} or bundle is loaded.own:
                        self._take_in(bundle, stock, whole=bundle.users <= {loaded})
                for one in loaded.apart:
                    one.take_in()
                return self._leave(loaded)

    def unload(self) -> Released:
        """CPU or GPU → Unloaded. Raises `ModelChanged` when changes would be lost; nothing was moved then.

        What another model has too stays with that one, so only what is this one's alone can be lost.
        """
        loaded = self._there()
        if loaded.awake:
            self._engine.device.synchronize()
        inventory = self._look(loaded)
        with self._bundles_of(loaded):
            stock = self._take_stock(loaded, inventory)
            if self._options.unload_changes == "refuse":
                self._refuse_to_lose_changes(loaded, stock)
                if self._first_load is None:
                    self._first_load = dict(loaded.own.as_loaded)
            with self._mirrors_kept(loaded):
                for bundle in loaded.bundles:
                    if not bundle.holders.keys() <= {loaded} and bundle.users == {loaded}:
                        self._take_in(bundle, stock)
                return self._unload(loaded)

    def _refuse_to_lose_changes(self, loaded: Loaded[T], stock: Stock) -> None:
        changed = False
        for bundle in loaded.bundles:
            if bundle.holders.keys() <= {loaded}:
                if loaded.awake:
                    bundle.look(stock.packable[bundle])
                changed = changed or bundle.dirty
            else:
                changed = changed or bundle.differs(stock.alone[bundle])
        for one in loaded.apart:
            one.take_in()
        if changed or any(one.dirty for one in loaded.apart):
            raise ModelChanged(
                f"the weights of model {self._name!r} differ from what load gives, and unloading would lose that; "
                f"it stays on the {self.residency}. Save the changes and register with unload_changes='discard', "
                "or let it sleep in host RAM"
            )

    def _look(self, loaded: Loaded[T]) -> Inventory:
        """What the model has now. Modules of another model may have been put into it: they are shared from now on."""
        inventory, shared = loaded.look(), self._engine.shared
        mine = {id(packed.tensor) for bundle in loaded.bundles for packed in bundle.packing.tensors}
        tensors = [found.tensor for found in inventory.tensors if id(found.tensor) not in mine]
        theirs = [tensor for tensor in tensors if shared.of(tensor) is not None]
        if theirs and not self._options.stable_addresses:
            joined = shared.join(loaded, theirs) or ()
            loaded.bundles = (*loaded.bundles, *(bundle for bundle in joined if bundle not in loaded.bundles))
        return inventory

    def _take_stock(self, loaded: Loaded[T], inventory: Inventory) -> Stock:
        """Which bundle has what. New modules are guarded, odd tensors that were added or replaced are taken up."""
        stock = loaded.sort_out(inventory)
        loaded.gate.guard(inventory.modules)
        known = {id(one.current): one for one in loaded.apart}
        loaded.apart = [
            known.pop(id(found.tensor)).found_at(found)
            if id(found.tensor) in known
            else Apart(found, why_apart(found.tensor) or "", on_device=loaded.awake)
            for found in stock.odd
        ]
        for gone in known.values():
            gone.forget()
        return stock

    def _take_in(self, bundle: Bundle, stock: Stock, *, whole: bool = True) -> None:
        """Raises as `Bundle.take_in`. Its tensors are known by identity: none is let go before that is put right."""
        before = bundle.packing
        try:
            if whole:
                bundle.take_in(stock.packable[bundle])
            else:
                bundle.take_in_new(stock.packable[bundle])
        finally:
            if bundle.packing is not before and not self._options.stable_addresses:
                self._engine.shared.taken_in(bundle)
        self.speed.offload_bytes_copied += bundle.bytes_copied_back

    @contextmanager
    def _mirrors_kept(self, loaded: Loaded[T]) -> Iterator[None]:
        """Nobody else's need of host RAM takes a mirror that is about to be all that there is."""
        for bundle in loaded.bundles:
            bundle.keep_mirror(loaded)
        try:
            yield
        except BaseException:
            for bundle in loaded.bundles:
                bundle.settle(loaded)
            raise

    def _roll_back(self, loaded: Loaded[T]) -> None:
        """The wake failed. Off the device, as far as it has come.

        Others may have changed what they share with it, and have left, while this one kept it there: that is copied
        back first, or it stays on the device for whoever wakes next.
        """
        with self._bundles_of(loaded):
            stays = set[Bundle]()
            for bundle in loaded.bundles:
                if bundle.joined and bundle.users == {loaded}:
                    try:
                        bundle.take_in(bundle.as_found())
                    except TransitionFailed as problem:
                        _log.warning("model %s: what it shares stays on the device: %s", self._name, problem)
                        stays.add(bundle)
            self._leave(loaded, stays=stays)

    def _leave(self, loaded: Loaded[T], *, for_good: bool = False, stays: Collection[Bundle] = frozenset()) -> Released:
        """Off the device, as far as nobody else needs it there; measured."""
        engine, was_there = self._engine, loaded.awake
        with self._bundles_of(loaded):
            with engine.accounting:
                before, method = engine.device.held_bytes()
                held = sum(bundle.device_bytes for bundle in loaded.bundles)
                held += sum(one.device_bytes for one in loaded.apart)
                for one in loaded.apart:
                    one.leave()
                for bundle in loaded.bundles:
                    if bundle.disclaim(loaded) and bundle not in stays:
                        bundle.leave()
                after, _ = engine.device.held_bytes()
            loaded.awake = False
            for bundle in loaded.bundles:
                if for_good:
                    engine.shared.leave(loaded, bundle)
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


def _allocate(holder: object, bundles: list[Bundle]) -> dict[Bundle, Arena]:
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
            need = sum(bundle.nbytes_for(holder) for bundle in bundles)
            raise DeviceFull(error.device, need, error.room_bytes + got) from error
        raise
    return arenas
