"""Storages that move together: one arena on the device, one mirror of it in host RAM.

The idea: weights don't change while a model serves. An immutable mirror of the arena stays in host RAM, so leaving the
device copies nothing and coming back is one streamed copy. What did change (a merged LoRA) is found by the checksum
taken on the device and copied back first. The checksum is taken again after each copy to the device, so a wake
proves that what came back is what went away.

A bundle is a model's own, or shared by models that were loaded with the same modules: it is on the device while one of
its users is, and it is moved once for all of them.
"""

import itertools
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any, Literal

import torch

from ....errors import IntegrityError
from ....lifecycle.room.host_budget import HostBudget, Promise
from ..checks.checksum import checksum_at_any_price
from ..device import Arena, DeviceBackend
from ..last_view import views_of
from ..layout.changes import changes_between
from ..layout.filling import Filling
from ..layout.fingerprint import Fingerprint, fingerprint
from ..layout.first_copy import to_device, to_host
from ..layout.inventory import Found
from ..layout.matching import slices, still_packed
from ..layout.original import Original
from ..layout.packing import Packing, pack
from ..pace import Pace, Path
from .mirror import Mirror
from .placing import Placing

MirrorMode = Literal["auto", "keep", "drop"]
# The first of these that one of a bundle's holders asked for is in force.
_MIRROR_MODES: tuple[MirrorMode, ...] = ("keep", "auto", "drop")
_numbers = itertools.count()


class Bundle:
    """Every method but `claim`, `settle`, `give_up_mirror` and the properties is called with `lock` held.

    number: the order in which locks of several bundles are taken.
    packing: how the tensors lie in the mirror, and will lie in the next arena.
    users: the models on the device that need it there.
    holders: the models that were loaded with it, and which of its tensors (by id) each has; None is all.
    joined: another model holds it too, or did.
    superseded: it was split or unloaded; whoever still knows it looks again.
    views_left: tensors outside the model that viewed its memory when it left the device; they keep all of it.
    versions_left: of its tensors at that moment (see `Packing.versions`).
    """

    def __init__(
        self,
        name: str,
        device: DeviceBackend,
        host: HostBudget,
        pace: Pace,
        *,
        frozen: bool,
        mirror: MirrorMode,
        stable: bool = False,
    ) -> None:
        self.lock = threading.RLock()
        self.number = next(_numbers)
        self.users: set[object] = set()
        self.holders: dict[Any, frozenset[int] | None] = {}
        self.superseded = self.joined = False
        # Set once it may be joined; see `SharedBundles.join`.
        self.ready = threading.Event()
        self.views_left = 0
        self.versions_left: dict[int, int] = {}
        self._unsettled: set[object] = set()
        self._name, self._device, self._host, self._pace = name, device, host, pace
        self._frozen, self._mode, self._placing = frozen, mirror, Placing(device, stable=stable)
        self.packing = Packing(0, (), ())
        self.mirror = Mirror(name, device, host, pace)
        self._arena: Arena | None = None
        # `packing` is the mirror's alone: the arena has what it was made of.
        self._packed_anew = False
        self._original = Original()
        self._dirty = False
        # Of the bytes that the mirror's sum is of; `_dirty` may know of newer ones, on the device.
        self._known_dirty = False

    # What it is -----------------------------------------------------------------------------------

    @property
    def on_device(self) -> bool:
        return self._arena is not None

    @property
    def storage(self) -> int | None:
        """By which tensors in its arena are known to share memory."""
        return None if self._arena is None else int(self._arena.bytes.untyped_storage()._cdata)

    @property
    def dirty(self) -> bool:
        """Its parameters and buffers differ from what was loaded, as found at the last look."""
        return self._dirty

    @property
    def nbytes(self) -> int:
        return self.packing.total_bytes

    def nbytes_for(self, holder: object) -> int:
        """Of the part that `holder` has: what it would take on the device once the bundle is split."""
        part = self.holders.get(holder)
        regions = range(len(self.packing.regions)) if part is None else self.packing.regions_of(part)
        return self.packing.select(regions).total_bytes

    @property
    def whole(self) -> tuple[object, ...] | None:
        """Its bytes and how they are laid out, in short: one checksum for all tensors. None when it isn't known."""
        if self.mirror.sum is None:
            return None
        return (self.mirror.sum, *((p.path, p.dtype, p.offset, p.shape, p.stride) for p in self.packing.tensors))

    @property
    def device_bytes(self) -> int:
        arena = self._arena
        return arena.bytes.numel() if arena is not None else 0

    @property
    def host_bytes(self) -> int:
        return self.mirror.nbytes

    def claim(self, user: object) -> bool:
        """Keep it on the device for `user` from now on, once it is there; False when it has been split meanwhile.

        Until `settle` the mirror is kept too: the wake may yet have to be taken back.
        """
        with self.lock:
            if self.superseded:
                return False
            self.users.add(user)
            self._unsettled.add(user)
            return True

    def keep_mirror(self, user: object) -> None:
        """Until `settle` or `disclaim`: `user` is about to leave the device, and the mirror is what will be left."""
        self._unsettled.add(user)

    def settle(self, user: object) -> None:
        """The wake is good, or the demotion was not. Takes the lock itself."""
        with self.lock:
            self._unsettled.discard(user)
            self.ready.set()
            if self._mode == "drop":
                self.give_up_mirror()

    def disclaim(self, user: object) -> bool:
        """`user` doesn't need it on the device any more; True when nobody does."""
        self.users.discard(user)
        self._unsettled.discard(user)
        return not self.users

    def suit(self, *, frozen: bool, mirror: MirrorMode) -> None:
        """Another model has joined: what it was not promised of its weights, nobody may count on."""
        self._frozen = self._frozen and frozen
        self._mode = next(mode for mode in _MIRROR_MODES if mode in (self._mode, mirror))

    # Loading --------------------------------------------------------------------------------------

    def fill_mirror(self, filling: Filling, promise: Promise | None = None) -> None:
        """Freshly loaded, laid out as `packing` → host RAM; see `first_copy.to_host`."""
        started = time.monotonic()
        self.mirror.keep(*to_host(self._device, self._host, filling, promise))
        self._mirrored()
        self._pace.measured(Path.LOAD, self.nbytes, time.monotonic() - started)

    def fill_device(self, filling: Filling, arena: Arena) -> None:
        """Freshly loaded → device without a mirror; see `first_copy.to_device`."""
        if not to_device(self._device, self._host, filling, arena):
            raise self._other_bytes(f"on {self._device.name} than were loaded")
        self.commit(arena)
        self.mirror.spared(None if self._frozen else self._sum_there(arena.bytes))
        self._original = Original(fingerprint(self.packing, slices(self.packing, arena.bytes), self._sum_there))

    # While it sleeps ------------------------------------------------------------------------------

    def take_up(self, found: list[Found]) -> None:
        """Tensors that were put into a sleeping model, and that no load gave → host RAM; they sleep as well then.

        Raises `HostFull` or `CopyFailed`; they are unharmed then.
        """
        packing, sources = pack(found, self._name)
        self.mirror.take_laid_out_anew(Filling(packing, sources))
        self.packing, self._original = packing, Original({})
        self._dirty = self._known_dirty = any(packed.saved for packed in packing.tensors)
        self._mirrored()
        packing.point_at_nothing()

    def put_out_replaced(self) -> bool:
        """Tensors whose bytes somebody has replaced while they slept are not of this bundle any more."""
        as_left = self.packing.as_left_asleep()
        if as_left is self.packing:
            return False
        self.remember_as_loaded()
        self.packing = as_left
        self.lacks_what_was_loaded_in(self)
        return True

    def written_from_outside(self) -> tuple[str, ...]:
        """What was written to while it slept, through a tensor that viewed its memory before; each once."""
        before, self.versions_left = self.versions_left, {}
        now = self.packing.versions() if before else {}
        written = {key for key, version in now.items() if version > before.get(key, version)}
        return tuple(packed.path for packed in self.packing.tensors if id(packed.tensor) in written)

    def lacks_what_was_loaded_in(self, whole: "Bundle") -> None:
        """It is `whole`, or all that is left of it: what it has no more is a change."""
        self._original = whole._original
        there = {packed.path for packed in self.packing.tensors}
        if not self._original.values.keys() <= there:
            self._dirty = self._known_dirty = True

    def part_with(self, gone: Collection[int]) -> None:
        """Off the device: these tensors (by id) were replaced by others, which another bundle has and answers for."""
        kept = self.packing.without(gone)
        self.narrow([id(packed.tensor) for packed in kept.tensors])
        self.packing = kept

    # Towards the device ---------------------------------------------------------------------------

    def allocate(self) -> Arena:
        """Memory for it on the device; see `Placing`. No lock is needed. Raises `DeviceFull`."""
        return self._placing.allocate(self.nbytes)

    def bring(self, arena: Arena) -> None:
        """Host RAM → `arena`, verified. Raises `CopyFailed`, `IntegrityError`, or `DeviceFull` when there is no room to
        verify it in; nothing has changed then."""
        started = time.monotonic()
        self._device.copy_in(self.mirror.bytes, arena)
        copied = time.monotonic()
        self._pace.measured(Path.RESTORE, self.nbytes, copied - started)
        if self._frozen:
            return
        if self._device.checksum(arena.bytes) != self.mirror.sum:
            raise self._other_bytes(f"on {self._device.name} than left it")
        self._pace.measured(Path.VERIFY, self.nbytes, time.monotonic() - copied)

    def commit(self, arena: Arena) -> None:
        """The tensors are views into `arena` from now on."""
        self._arena = arena  # first, so that it is given back by `leave` if a tensor refuses
        self._packed_anew = False
        self.packing.point_at(arena.bytes)

    # Away from the device -------------------------------------------------------------------------

    def look(self, found: list[Found]) -> None:
        """Find out whether it is dirty, with nothing copied."""
        if self._arena is None or self._frozen:
            return
        if not self._still_packed(self._arena, found):
            packing, sources = pack(found)
            now = fingerprint(packing, lambda n, end: sources[n].bytes(0, end), self._sum_there)
            self._dirty = now != self.as_loaded
        elif self._device_sum(self._arena) == self.mirror.sum:
            self._dirty = self._known_dirty  # a change that was taken back is none
        else:
            now = fingerprint(self.packing, slices(self.packing, self._arena.bytes), self._sum_there)
            self._dirty = now != self.as_loaded

    def take_in(self, found: list[Found]) -> None:
        """Bring the mirror up to date with the device, whose bytes are never written.

        `found` is what belongs to it now. Raises `CopyFailed`, `HostFull` or `IntegrityError`; it is still there then.
        """
        self.mirror.bytes_copied_back = 0
        if self._arena is None:
            return
        if not self._still_packed(self._arena, found):
            self._repack(found)
            return
        if self._frozen and self.mirror.whole:
            return
        device_sum = self._device_sum(self._arena)
        if not self.mirror.exists or device_sum != self.mirror.sum:
            self._copy_back(self._arena, device_sum)
        self._dirty = self._known_dirty

    def take_in_new(self, found: list[Found]) -> None:
        """The same for tensors that were added or replaced, while others go on using the rest on the device."""
        self.mirror.bytes_copied_back = 0
        if self._arena is not None and not self._still_packed(self._arena, found):
            self.take_in(found)

    def _still_packed(self, arena: Arena, found: list[Found]) -> bool:
        return not self._packed_anew and still_packed(self.packing, arena.bytes, found)

    def _device_sum(self, arena: Arena) -> int:
        started = time.monotonic()
        device_sum = self._sum_there(arena.bytes)
        self._pace.measured(Path.VERIFY, self.nbytes, time.monotonic() - started)
        return device_sum

    def _sum_there(self, data: torch.Tensor) -> int:
        """Of bytes on the device that are staying or leaving: a full device must not keep them from leaving."""
        return checksum_at_any_price(self._device.checksum, data)

    def _copy_back(self, arena: Arena, device_sum: int) -> None:
        changed = device_sum != self.mirror.sum
        self.remember_as_loaded()
        self.mirror.take(arena, device_sum)
        self._mirrored()
        if changed:
            self._known_dirty = self._mirror_differs()

    def _repack(self, found: list[Found]) -> None:
        """Tensors were replaced or added (`weight.data = other`): lay everything out anew, in a new mirror.

        The tensors stay where they are, so the model goes on working if it must stay on the device.
        """
        self.remember_as_loaded()
        self.mirror.forget()
        packing, sources = pack(found, self._name)
        self.mirror.take_laid_out_anew(Filling(packing, sources))
        self.packing, self._packed_anew = packing, True
        self._mirrored()
        self._dirty = self._known_dirty = self._mirror_differs()

    def _mirrored(self) -> None:
        self.ready.set()
        self._host.can_spare(self)

    def _mirror_differs(self) -> bool:
        return self._original.differs(fingerprint(self.packing, slices(self.packing, self.mirror.bytes)))

    def leave(self) -> None:
        """Give the device's memory back; the mirror is what there is from now on.

        Off the device nothing is done: whoever fails to wake beside it knows nothing of what was put into its tensors
        while they slept.
        """
        arena, self._arena = self._arena, None
        if arena is None:
            return
        try:
            self.packing.point_at_nothing()
        finally:
            self.views_left = views_of(arena.bytes)
            self.versions_left = self.packing.versions()
            arena.close()

    # Sharing --------------------------------------------------------------------------------------

    def split(self, chosen: Collection[int]) -> tuple["Bundle", ...]:
        """Off the device: the regions of some tensors (by id) and the other regions, as bundles in its stead.

        Raises `HostFull`, or `CopyFailed` when no more host RAM can be pinned; it is whole then.
        """
        numbers = self.packing.regions_of(chosen)
        others = sorted(set(range(len(self.packing.regions))) - set(numbers))
        parts: list[Bundle] = []
        try:
            parts.extend(self._part(group) for group in (others, numbers))
        except BaseException:
            for part in parts:
                part.mirror.drop()
            raise
        self.superseded = True
        self.mirror.drop()
        return tuple(parts)

    def differs(self, found: list[Found]) -> bool:
        """Whether these, a part of its tensors, are other than what was loaded. Nothing is copied."""
        return bool(self.changes(found, part=True))

    def changes(self, found: list[Found], *, part: bool = False) -> tuple[str, ...]:
        """How these are other than what was loaded; see `changes_between`. part: it has more. Nothing is copied."""
        if self._frozen:
            return ()
        if self._arena is None:
            paths = {item.path for item in found}
            whole = fingerprint(self.packing, slices(self.packing, self.mirror.bytes))
            now = {path: value for path, value in whole.items() if path in paths or not part}
        else:
            packing, sources = pack(found)
            now = fingerprint(packing, lambda n, end: sources[n].bytes(0, end), self._sum_there)
        loaded = self.as_loaded
        return changes_between({path: loaded[path] for path in loaded.keys() & now.keys()} if part else loaded, now)

    def _part(self, numbers: list[int]) -> "Bundle":
        part = Bundle(self._name, self._device, self._host, self._pace, frozen=self._frozen, mirror=self._mode)
        part.packing, part.joined = self.packing.select(numbers), self.joined
        part.versions_left = self.versions_left
        part.mirror.take_part(self.mirror, self.packing, numbers, part.packing)
        part._mirrored()
        part._original = self._original.part(packed.path for packed in part.packing.tensors)
        part._dirty = part._known_dirty = self._known_dirty and part._mirror_differs()
        return part

    # The mirror -----------------------------------------------------------------------------------

    def give_up_mirror(self) -> int:
        """Free the mirror while the device has the bytes; the next demotion copies them back. Never waits."""
        if not self.lock.acquire(blocking=False):
            return 0
        try:
            if self._mode == "keep" or self._unsettled or self._arena is None or not self.mirror.exists:
                return 0
            self.remember_as_loaded()
            return self.mirror.drop()
        finally:
            self.lock.release()

    def close(self) -> None:
        """Unloaded: nothing is held any more."""
        with ExitStack() as stack:  # the last one first, and each whatever the others raise
            stack.callback(self.ready.set)
            stack.callback(self._placing.close)
            stack.callback(self.leave)
            stack.callback(self.packing.point_at_nothing)  # what a load that failed has not let go yet
            stack.callback(self.mirror.drop)

    # What it was ----------------------------------------------------------------------------------

    def remember_as_loaded(self) -> None:
        """Before the mirror is written for the first time."""
        if self.mirror.whole:
            self._original.remember(lambda: fingerprint(self.packing, slices(self.packing, self.mirror.bytes)))

    @property
    def as_loaded(self) -> Fingerprint:
        self.remember_as_loaded()
        return self._original.values

    def narrow(self, kept: Collection[int]) -> None:
        """Only these of its tensors (by id) are needed from now on."""
        self.remember_as_loaded()
        self._original.narrow(packed.path for packed in self.packing.tensors if id(packed.tensor) in kept)

    def widen(self, wanted: Collection[int]) -> None:
        """A model has joined that needs these: of what nobody needed meanwhile, it is known again what it was."""
        if not self._original.has_unneeded:
            return
        self.remember_as_loaded()
        self._original.widen(packed.path for packed in self.packing.tensors if id(packed.tensor) in wanted)

    def _other_bytes(self, where: str) -> IntegrityError:
        return IntegrityError(f"model {self._name!r}: other bytes arrived {where}; the copy was thrown away, ask again")
