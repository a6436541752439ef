"""Which loaded model's bundle each tensor is in, so that modules that several models hold are moved once.

A second model that is loaded with a module of the first finds its tensors here and joins. What both hold becomes a
bundle of its own the next time that it is off the device; until then the first one's bundle is moved as a whole for
both, since tensors that may be in use can't be moved to another arena.
"""

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import torch

from ....errors import CopyFailed, HostFull
from ..layout.matching import part_of
from .bundle import Bundle


class Holder(Protocol):
    """A loaded model. own: the bundle that takes up what is new in it."""

    own: Bundle

    def reach(self) -> frozenset[int]:
        """The tensors (by id) that it has now."""
        ...

    def regroup(self, bundle: Bundle, parts: tuple[Bundle, ...]) -> None:
        """`bundle` has made way for `parts`, of which these are the holder's. Its lock is held."""
        ...


@contextmanager
def locked(bundles: Iterable[Bundle]) -> Iterator[None]:
    """Hold the locks of several bundles, taken in one order everywhere."""
    with ExitStack() as stack:
        for bundle in sorted(bundles, key=lambda bundle: bundle.number):
            stack.enter_context(bundle.lock)
        yield


class SharedBundles:
    """Thread-safe. Tensors are known by identity while their bundle lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_tensor: dict[int, Bundle] = {}
        self._ids: dict[Bundle, list[int]] = {}

    def of(self, tensor: torch.Tensor) -> Bundle | None:
        with self._lock:
            return self._by_tensor.get(id(tensor))

    def enter(self, own: Bundle | None, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Those that are in a bundle already; the rest will be in `own`, from this moment on.

        In one step: of two models that are loaded at once with the same module, one has it and the other joins.
        """
        tensors = list(tensors)
        with self._lock:
            known = [tensor for tensor in tensors if id(tensor) in self._by_tensor]
            if own is not None:
                ids = [id(tensor) for tensor in tensors if id(tensor) not in self._by_tensor]
                self._record(own, ids)
        return known

    def add(self, bundle: Bundle) -> None:
        """Its tensors, as they are now, are in this bundle."""
        ids = [id(packed.tensor) for packed in bundle.packing.tensors]
        with self._lock:
            self._forget(bundle)
            self._record(bundle, ids)

    def remove(self, bundle: Bundle) -> None:
        with self._lock:
            self._forget(bundle)

    def reached_by(self, tensors: Iterable[torch.Tensor]) -> tuple[set[int], set[Bundle]]:
        """Those (by id) that are in no bundle yet but in loaded models: put into them while one was awake.

        With a bundle of each of these; at the next demotion they are taken in there, or in another that all have.
        """
        strangers = {id(tensor) for tensor in tensors if self.of(tensor) is None}
        if not strangers:
            return set(), set()
        with self._lock:
            holders = {holder for bundle in self._ids for holder in tuple(bundle.holders)}
        reached = {holder: holder.reach() & strangers for holder in holders}
        return set[int]().union(*reached.values()), {holder.own for holder, keys in reached.items() if keys}

    def join(
        self, holder: Holder, tensors: Iterable[torch.Tensor], also: Iterable[Bundle] = ()
    ) -> tuple[Bundle, ...] | None:
        """Make `holder` a holder of the bundles that these tensors are in, and return them, once they are filled.

        None when one of them was unloaded or split meanwhile; it holds none of them then. No lock is held while it
        waits: a bundle may be filled only when another model has left the device, for which that needs its locks.
        """
        tensors = list(tensors)
        while True:
            wanted = self._wanted(tensors)
            if wanted is None:
                return None
            for bundle in also:
                wanted.setdefault(bundle, set())
            for bundle in wanted:
                bundle.ready.wait()
            with locked(wanted):
                if any(bundle.superseded or not bundle.holders for bundle in wanted):
                    if any(bundle.superseded for bundle in also):
                        return None
                    continue  # split: its parts are known by now; unloaded: it is not known any more
                for bundle, ids in wanted.items():
                    bundle.holders[holder], bundle.joined = part_of(bundle.packing, ids), True
                    bundle.widen(ids)
                return tuple(wanted)

    def _wanted(self, tensors: Iterable[torch.Tensor]) -> dict[Bundle, set[int]] | None:
        wanted: dict[Bundle, set[int]] = {}
        for tensor in tensors:
            bundle = self.of(tensor)
            if bundle is None:
                return None
            wanted.setdefault(bundle, set()).add(id(tensor))
        return wanted

    def taken_in(self, bundle: Bundle) -> None:
        """Its tensors may be others than before: know them, and who of its holders has which. Its lock is held."""
        self.add(bundle)
        if len(bundle.holders) > 1:
            for holder in bundle.holders:
                bundle.holders[holder] = part_of(bundle.packing, holder.reach())

    def leave(self, holder: Holder, bundle: Bundle) -> None:
        """`holder` was unloaded; with the last one the bundle goes too. Its lock is held."""
        bundle.holders.pop(holder, None)
        if not bundle.holders:
            self.remove(bundle)
            bundle.superseded = True
            bundle.close()
        else:
            bundle.narrow(frozenset[int]().union(*(other.reach() for other in bundle.holders)))

    def split_if_due(self, bundle: Bundle) -> None:
        """Off the device, a bundle of which a holder wants only a part makes way for two. Its lock is held."""
        wanted = next((ids for ids in bundle.holders.values() if ids is not None), None)
        if wanted is None or bundle.superseded or bundle.on_device or bundle.users:
            return
        try:
            parts = bundle.split(wanted)
        except (HostFull, CopyFailed):
            return  # it stays whole until there is room for a moment's second copy, and the driver pins it
        self.remove(bundle)
        for holder, ids in bundle.holders.items():
            mine = tuple(part for part in parts if self._share(part, holder, ids))
            holder.regroup(bundle, mine)
        for part in parts:
            if part.holders:
                self.add(part)
                with part.lock:
                    self.split_if_due(part)
            else:
                part.close()

    def shed(self, holder: Holder, bundle: Bundle, gone: Collection[int]) -> None:
        """Off the device, and `holder` alone has it: regions of tensors (by id) that no model has any more make way.

        Its lock is held. Without room in host RAM for a moment's second copy they stay until the next demotion.
        """
        bundle.remember_as_loaded()
        try:
            kept, rest = bundle.split(gone)
        except (HostFull, CopyFailed):
            return
        self.remove(bundle)
        kept.holders[holder] = None
        kept.lacks_what_was_loaded_in(bundle)
        holder.regroup(bundle, (kept,))
        self.add(kept)
        rest.close()

    @staticmethod
    def _share(part: Bundle, holder: Holder, wanted: frozenset[int] | None) -> bool:
        there = {id(packed.tensor) for packed in part.packing.tensors}
        share = there if wanted is None else there & wanted
        if share:
            part.holders[holder] = part_of(part.packing, share)
        return bool(share)

    def _record(self, bundle: Bundle, ids: list[int]) -> None:
        self._ids[bundle] = ids
        self._by_tensor.update(dict.fromkeys(ids, bundle))

    def _forget(self, bundle: Bundle) -> None:
        for key in self._ids.pop(bundle, ()):
            if self._by_tensor.get(key) is bundle:
                del self._by_tensor[key]
