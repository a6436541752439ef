"""From the user's `load` to a loaded model: its tensors laid out in a bundle, shared ones joined, odd ones apart."""

import gc
import logging
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Generic, TypeVar

from ....errors import HostFull, LoadFailed
from ..checks.gate import Gate
from ..layout.apart import Apart, why_apart
from ..layout.filling import Filling
from ..layout.fingerprint import Fingerprint
from ..layout.packing import pack
from ..loaded import Loaded
from ..moves.leaving import let_go
from ..options import WeightsOptions
from ..process import TorchProcess
from ..sharing.bundle import Bundle
from .fresh import Fresh, LetGo, load_fresh, refuse_an_empty_one, refuse_what_can_not_be_moved, tensors_of_guarded

T = TypeVar("T")
_log = logging.getLogger("dormouse")

# Who used a model that was unloaded a moment ago may still be about to return, and knows it until then. Counted in
# looks and not by the clock: between two of them each thread gets its turn, however busy the machine.
_LOOKS, _SECONDS_BETWEEN = 100, 0.01
# Each of them met another module that had just gone; more in a row is no accident.
_ATTEMPTS = 20


class Loader(Generic[T]):
    """Loads one model as often as needed, and sees to it that the weights are the same each time."""

    def __init__(self, name: str, load: Callable[[], T], process: TorchProcess, options: WeightsOptions[T]) -> None:
        self._name, self._load, self._process, self._options = name, load, process, options
        self._first: Fingerprint | None = None
        self._first_whole: tuple[object, ...] | None = None

    def load(self, *, may_skip_mirror: bool) -> Loaded[T]:
        """The model with its weights in host RAM; or on the device already, when host RAM has no room for a mirror.

        Raises `LoadFailed`, `HostFull`, and `DeviceFull` in the second case; nothing is kept then.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._load_once(may_skip_mirror)
            except LetGo as error:
                held = error.held  # and not the error, which knows the frames that know the module
            # Another model was unloaded as `load` took up a module of its from a cache. As soon as nobody knows that
            # module any more, `load` makes it anew; one that stays is kept by somebody, and `load` will say so again.
            if not self._is_let_go(held):
                break
        return self._load_once(may_skip_mirror)

    def remember(self, loaded: Loaded[T]) -> None:
        """Before the first unload: what the weights were, to compare the next load with."""
        if self._first is None and self._options.unload_changes == "refuse":
            self._first = dict(loaded.own.as_loaded)

    def _is_let_go(self, held: weakref.ref[object]) -> bool:
        """By everybody, soon enough. Another load may have taken it up as well and knows it until its end."""
        looks = 0
        gc.collect()
        while held() is not None and looks < _LOOKS:
            looks = 0 if self._process.loads.are_under_way else looks + 1
            if looks == _LOOKS // 2:
                gc.collect()  # what ended meanwhile may have left cycles behind
            time.sleep(_SECONDS_BETWEEN)
        return held() is None

    def _load_once(self, may_skip_mirror: bool) -> Loaded[T]:
        with self._process.loads.one():
            return self._load_and_take_up(may_skip_mirror)

    def _load_and_take_up(self, may_skip_mirror: bool) -> Loaded[T]:
        fresh = load_fresh(self._name, self._load, self._options.modules)
        own = self.bundle()
        loaded = Loaded(fresh.model, fresh.look, Gate(self._name), own, (own,))
        loaded.opaque = fresh.inventory.opaque
        loaded.saved_at_load = tuple(found.path for found in fresh.inventory.tensors if found.saved)
        if fresh.inventory.among_objects:
            found = ", ".join(fresh.inventory.among_objects)
            _log.info("model %s: also moves what was found in plain objects: %s", self._name, found)
        try:
            self._take_up(loaded, fresh, may_skip_mirror)
        except OSError as error:
            let_go(self._process, loaded)
            raise LoadFailed(f"the weights of model {self._name!r} can't be read: {error}") from error
        except BaseException:
            let_go(self._process, loaded)
            raise
        return loaded

    def _take_up(self, loaded: Loaded[T], fresh: Fresh[T], may_skip_mirror: bool) -> None:
        shared, options, own = self._process.shared, self._options, loaded.own
        packable = [found for found in fresh.inventory.tensors if why_apart(found.tensor) is None]
        odd = [found for found in fresh.inventory.tensors if why_apart(found.tensor) is not None]
        foreign, homes = shared.reached_by(tensors_of_guarded(fresh.inventory))
        tensors = [found.tensor for found in packable if id(found.tensor) not in foreign]
        known = shared.enter(None if options.stable_addresses else own, tensors)
        joined = shared.join(loaded, known, also=homes)
        if joined is None:
            gone = (each for each in known if shared.of(each) is None)
            raise LetGo(self._name, next(gone, (*fresh.inventory.modules, *known)[0]))
        loaded.bundles = (own, *joined)
        if joined and options.stable_addresses:
            raise LoadFailed(
                f"model {self._name!r} is registered with stable_addresses and has modules that another model has too; "
                "give it its own, or register it without"
            )
        for bundle in joined:
            with bundle.lock:
                bundle.suit(frozen=options.frozen, mirror=options.mirror)
        theirs = {id(tensor) for tensor in known} | foreign
        packable = [found for found in packable if id(found.tensor) not in theirs]
        refuse_what_can_not_be_moved(self._name, fresh.inventory, packable + odd)
        if not joined:
            refuse_an_empty_one(self._name, loaded.model, fresh.inventory, picked=options.modules is not None)
        loaded.apart = [Apart(found, why_apart(found.tensor) or "") for found in odd]
        packing, sources = pack(packable, self._name)
        filling = Filling(packing, sources, fresh.files)
        loaded.guarded = fresh.inventory.modules
        loaded.gate.guard(loaded.guarded)  # first: by this a module that was let go half-way is known
        loaded.gate.guard_compiled(loaded.guarded)
        del sources, fresh  # what `filling` lets go of is freed at once
        with own.lock:
            own.packing = packing
            own.holders[loaded] = None
            self._fill(loaded, filling, may_skip_mirror)
            self._compare_with_first(own)
        if not options.stable_addresses:
            shared.add(own)

    def _fill(self, loaded: Loaded[T], filling: Filling, may_skip_mirror: bool) -> None:
        own, process, mode = loaded.own, self._process, self._options.mirror
        if not may_skip_mirror or mode == "keep":
            own.fill_mirror(filling)
            return
        with ExitStack() as stack:
            if mode == "auto":
                with suppress(HostFull):
                    promise = stack.enter_context(process.host.promised(own.nbytes, at_any_price=False))
                    own.fill_mirror(filling, promise)
                    return
        own.claim(loaded)
        own.fill_device(filling, process.with_room(self._name, own.allocate, own.nbytes))

    def bundle(self) -> Bundle:
        """An empty one, with the model's settings."""
        process, options = self._process, self._options
        return Bundle(
            self._name,
            process.device,
            process.host,
            process.pace,
            frozen=options.frozen,
            mirror=options.mirror,
            stable=options.stable_addresses,
        )

    def _compare_with_first(self, own: Bundle) -> None:
        first, whole = self._first, own.whole
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
