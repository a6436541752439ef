"""The bytes of a freshly loaded model on their way into an arena's layout, a stretch at a time.

Not one big copy: what has been copied is let go at once, so that host RAM holds the weights once and not twice at the
peak of a load. Bytes that come from a file go straight to their place and are nowhere else before.
"""

import ctypes
from collections.abc import Iterator, Mapping

import torch

from .packing import Packing, Source, point_at_nothing
from .weight_files import FileSpan, Read, read_into

STRETCH_BYTES = 256 << 20


class Filling:
    """Copies any stretch of the layout, and lets go of the regions before it. One caller at a time.

    files: by the tensor's id, where its bytes are on disk; what `load` put into that tensor is not looked at.
    """

    def __init__(self, packing: Packing, sources: tuple[Source, ...], files: Mapping[int, FileSpan] | None = None):
        self.packing = packing
        self._sources: list[Source | None] = list(sources)
        self._spans: list[list[tuple[int, FileSpan]]] = [[] for _ in packing.regions]
        self._released = 0
        for packed in packing.tensors if files else ():
            span = files.get(id(packed.tensor)) if files else None
            if span is not None:
                at = packed.offset * packed.dtype.itemsize - packing.regions[packed.region].offset
                self._spans[packed.region].append((at, span))

    def stretches(self, nbytes: int = STRETCH_BYTES) -> Iterator[tuple[int, int]]:
        """First byte, and the one past the last, of each stretch of the layout."""
        for start in range(0, self.packing.total_bytes, nbytes):
            yield start, min(start + nbytes, self.packing.total_bytes)

    def copy(self, start: int, end: int, target: torch.Tensor) -> None:
        """Fill `target` (flat uint8, on any device) with bytes `start` to `end` of the layout; gaps stay as they are.

        Raises `OSError` when a file can't be read, or has become shorter.
        """
        reads: list[Read] = []
        for number, region in enumerate(self.packing.regions):
            low, high = max(start, region.offset), min(end, region.end)
            if low >= high:
                continue
            source, spans = self._sources[number], self._spans[number]
            covered = sum(span.nbytes for _, span in spans) == region.nbytes
            if source is not None and not covered:
                target[low - start : high - start].copy_(source.bytes(low - region.offset, high - region.offset))
            for at, span in spans:
                first, past = max(low, region.offset + at), min(high, region.offset + at + span.nbytes)
                if first < past:
                    offset = span.offset + first - region.offset - at
                    reads.append(Read(span.path, offset, first - start, past - first))
        if reads:
            read_into(target, reads)

    def let_go(self, end: int) -> None:
        """Point the tensors of all regions before byte `end` at nothing and drop what they were read from."""
        done = self._released
        while done < len(self.packing.regions) and self.packing.regions[done].end <= end:
            self._sources[done] = None
            done += 1
        gone = range(self._released, done)
        point_at_nothing(packed for packed in self.packing.tensors if packed.region in gone)
        self._released = done
        _give_freed_memory_back()


def _give_freed_memory_back() -> None:
    """To the system: glibc keeps freed blocks of up to 32 MiB for itself once the process has freed one that large.

    Seen: a load of 400 MB in tensors of 4 MiB took twice that at its peak, and 1.6 times with this.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own; elsewhere there is none
    if trim is not None:
        trim(0)
