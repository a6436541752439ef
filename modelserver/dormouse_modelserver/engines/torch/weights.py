"""The weights of one model and the four moves: load, restore, offload, unload.

What moves are bundles (see `bundle`): one of the model's own, those that it shares with other models, and the few
tensors that can't be packed. Every move either completes or leaves the weights in the tier where they were. One caller
at a time: the slot's worker. Nothing here knows of requests.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dormouse_contract import Residency

from ...errors import DeviceFull, DormouseError, LoadFailed, ModelChanged
from ...lifecycle.engine import Fence, Released, Speed
from ...lifecycle.forking import begins_anew
from .checks.canary import CanaryCheck
from .checks.gate import Gate
from .device import DeviceBackend
from .layout.apart import report
from .layout.changes import in_short, merged
from .layout.inventory import Inventory
from .layout.pointing import follow
from .loaded import Loaded, Stock
from .loading.loader import Loader
from .moves.leaving import bundles_of, leave, let_go, mirrors_kept, roll_back
from .moves.stocktaking import changes_of, is_changed, look_again, take_in, take_stock
from .moves.taking_up import take_stock_asleep, take_up, touched_asleep
from .moves.waking import bring
from .options import WeightsOptions
from .pace import Path
from .process import TorchProcess

T = TypeVar("T")
_log = logging.getLogger("dormouse")


@dataclass(slots=True)
class WeightsSpeed(Speed):
    """warm_up_seconds: part of the restore. offload_bytes_copied: 0 for unchanged weights."""

    warm_up_seconds: float = 0.0
    offload_bytes_copied: int = 0


class Weights(Generic[T]):
    def __init__(
        self, name: str, load: Callable[[], T], process: TorchProcess, options: WeightsOptions[T] | None = None
    ) -> None:
        self._name, self._load_model, self._process = name, load, process
        self._options: WeightsOptions[T] = options or WeightsOptions()
        self._canary = CanaryCheck(self._options.canary) if self._options.canary is not None else None
        self._loaded: Loaded[T] | None = None
        self._named: set[str] = set()
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Unloaded, also in a forked child. Letting go of what the parent has on a GPU would touch that GPU."""
        self.speed = WeightsSpeed()
        self._loader = Loader(self._name, self._load_model, self._process, self._options)
        self._changes: tuple[str, ...] | None = None
        if self._process.device.simulated:
            self._loaded = None

    # What it is -----------------------------------------------------------------------------------

    @property
    def residency(self) -> Residency:
        loaded = self._loaded
        if loaded is None:
            return Residency.UNLOADED
        return Residency.GPU if loaded.awake else Residency.CPU

    @property
    def device(self) -> DeviceBackend:
        return self._process.device

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

    @property
    def changed(self) -> str:
        """What differs from what `load` gives, as found at the last look; empty when nothing does."""
        return in_short(self._changes or ()) if self.dirty else ""

    @property
    def says_where(self) -> tuple[str, ...]:
        """What names its device and follows it, as of the last wake; see `layout.devices`."""
        loaded = self._loaded
        return loaded.says_where if loaded is not None else ()

    @property
    def tensors(self) -> int:
        """How many move, those that are moved on their own included."""
        loaded = self._loaded
        if loaded is None:
            return 0
        return sum(len(bundle.packing.tensors) for bundle in loaded.bundles) + len(loaded.apart)

    def admit(self) -> None:
        self.gate.open = True

    def shut(self) -> None:
        self.gate.open = False

    def fence(self) -> Fence:
        return self._process.device.fence()

    def clean_up(self) -> None:
        """An arena that was closed while an error's frames held views of it went to torch's cache, and no further."""
        self._process.device.trim()

    def estimate_seconds(self) -> float | None:
        """Until the weights are on the GPU from where they are; None until it was measured."""
        loaded, speed, pace = self._loaded, self.speed, self._process.pace
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
        self._load(may_skip_mirror=True)
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
        self._load(may_skip_mirror=False)

    def _load(self, *, may_skip_mirror: bool) -> None:
        started = time.monotonic()
        self._loaded = self._loader.load(may_skip_mirror=may_skip_mirror)
        self.speed.load_seconds = time.monotonic() - started
        self._name_what_is_apart()

    def _name_what_is_apart(self) -> None:
        """In the log, each path once: what is on its own may come again, larger, after each use."""
        for line in self.moved_apart:
            path = line.partition(": ")[0]
            if path not in self._named:
                self._named.add(path)
                _log.warning("model %s: not in the arena: %s", self._name, line)

    def _name_changes(self, loaded: Loaded[T], stock: Stock) -> None:
        """In the log, when they are found first: to look for their names takes a checksum of all bytes."""
        if not loaded.dirty:
            self._changes = None
        elif self._changes is None and self._options.unload_changes == "refuse":
            self._changes = changes_of(loaded, stock)
            if not self._changes:
                return  # they are another model's as well, which keeps them
            _log.warning("model %s: changed since its load, so it will not be unloaded: %s", self._name, self.changed)

    def restore(self) -> None:
        """CPU → GPU, verified. Raises `DeviceFull`, `CopyFailed`, `IntegrityError` or `LoadFailed` (the warm-up).

        Still on the CPU then, and the device's memory is where it was.
        """
        loaded, may_share = self._there(), not self._options.stable_addresses
        started = time.monotonic()
        inventory = take_up(self._process, loaded, self._loader.bundle, may_share=may_share)
        try:
            bring(self._process, loaded, self._name)
            for one in loaded.apart:
                self._process.with_room(self._name, lambda one=one: one.send(self._process.device))  # type: ignore[misc]
            self._say_where(loaded, inventory)
            self._prove(loaded)
        except BaseException:
            roll_back(self._process, loaded, self._name)
            raise
        loaded.awake = True
        for bundle in loaded.bundles:
            bundle.settle(loaded)
        self.speed.restore_seconds = time.monotonic() - started

    def _say_where(self, loaded: Loaded[T], inventory: Inventory) -> None:
        """Before anybody is let in, and taken back as the model leaves."""
        device = self._process.device.torch_device
        if device.type != "cpu":
            follow(inventory.modules, device)
            loaded.says_where = self._process.said.say(loaded, loaded.model, inventory, device)

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
            self._process.device.synchronize()
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
        loaded, process, may_share = self._there(), self._process, not self._options.stable_addresses
        process.device.synchronize()  # on streams of the app's own, too: their writes are part of the weights
        inventory = look_again(process, loaded, may_share=may_share)
        with bundles_of(loaded):
            stock = take_stock(loaded, inventory)
            self.speed.offload_bytes_copied = 0
            with mirrors_kept(loaded):
                for bundle in loaded.bundles:
                    copied = take_in(process, loaded, bundle, stock, may_share=may_share)
                    self.speed.offload_bytes_copied += copied
                for one in loaded.apart:
                    one.take_in()
                self._name_what_is_apart()
                self._name_changes(loaded, stock)
                return leave(process, loaded)

    def unload(self) -> Released:
        """CPU or GPU → Unloaded. Raises `ModelChanged` when changes would be lost; nothing was moved then.

        What another model has too stays with that one, so only what is this one's alone can be lost.
        """
        loaded, process, may_share = self._there(), self._process, not self._options.stable_addresses
        if loaded.awake:
            process.device.synchronize()
        inventory = look_again(process, loaded, may_share=may_share)
        with bundles_of(loaded):
            touched: tuple[str, ...] = ()
            if loaded.awake:
                stock = take_stock(loaded, inventory)
            else:
                stock = take_stock_asleep(process, loaded, inventory, may_share=may_share)
                touched = touched_asleep(loaded, stock)
            if self._options.unload_changes == "refuse" and (is_changed(loaded, stock) or touched):
                self._changes = merged((*touched, *changes_of(loaded, stock))) or ("what it shares or shared",)
                raise ModelChanged(
                    f"the weights of model {self._name!r} differ from what load gives: {in_short(self._changes)}. "
                    f"Unloading would lose that, so it stays on the {self.residency}. Save the changes and register "
                    "with unload_changes='discard', or let it sleep in host RAM"
                )
            self._loader.remember(loaded)
            with mirrors_kept(loaded):
                for bundle in loaded.bundles:
                    if not bundle.holders.keys() <= {loaded}:
                        take_in(process, loaded, bundle, stock, may_share=may_share)
                return self._unload(loaded)

    def _unload(self, loaded: Loaded[T]) -> Released:
        self._loaded, self._changes = None, None
        return let_go(self._process, loaded)

    def _there(self) -> Loaded[T]:
        if self._loaded is None:
            raise RuntimeError(f"model {self._name!r} is not loaded")
        return self._loaded
