"""The bytes of a freshly loaded model on their way into an arena's layout, a stretch at a time.

Not one big copy: what has been copied is let go at once, so that host RAM holds the weights once and not twice at the
peak of a load. Bytes that come from a file go straight to their place and are nowhere else before. What is written is
summed in the same pass, while it is in the CPU's cache.
"""

import bisect
import ctypes
from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch

from ..checks.checksum import SHARE_BYTES, sums_while_filling
from ..checks.rows import PIECE_BYTES
from ..host_pages import give_freed_memory_back
from .packing import Packing, Source, point_at_nothing
from .weight_files import FileSpan, OpenFiles, Read

# In whole blocks of the checksum.
STRETCH_BYTES = 256 << 20
# What a thread will fill next is asked of the disk at once: reads of half a MiB, by several threads in turn, look to
# the system like no sequence that it would read ahead.
_PIECES_AHEAD = SHARE_BYTES // PIECE_BYTES


class Filling:
    """Writes any stretch of the layout, and lets go of the regions before it. One caller at a time.

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

    def fill(self, start: int, end: int, target: torch.Tensor) -> list[int]:
        """Write bytes `start` to `end` of the layout to `target`, flat uint8 in host RAM; gaps stay as they are.

        Returns the sums of what is there now, for `combined`. Raises `OSError` when a file can't be read, or has
        become shorter.
        """
        base = target.data_ptr()
        # By the piece that they are in: bytes in host RAM (at, address, how many), and those in files.
        copies: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        reads: dict[int, list[Read]] = defaultdict(list)
        for number in self._regions_within(start, end):
            region, source, spans = self.packing.regions[number], self._sources[number], self._spans[number]
            low, high = max(start, region.offset), min(end, region.end)
            covered = sum(span.nbytes for _, span in spans) == region.nbytes
            if source is not None and not covered:
                if source.storage.device.type == "cpu":
                    address = source.storage.data_ptr() + source.start - region.offset + start
                    for piece, at, nbytes in _pieces(low - start, high - start):
                        copies[piece].append((at, address + at, nbytes))
                else:  # not in those threads, which know nothing of devices
                    target[low - start : high - start].copy_(source.bytes(low - region.offset, high - region.offset))
            for within, span in spans:
                first = region.offset + within
                for piece, at, nbytes in _pieces(max(low, first) - start, min(high, first + span.nbytes) - start):
                    reads[piece].append(Read(span.path, span.offset + start + at - first, at, nbytes))
        with OpenFiles(read.path for in_piece in reads.values() for read in in_piece) as files:

            def write(first: int, past: int) -> None:
                piece = first // PIECE_BYTES
                if not piece % _PIECES_AHEAD:
                    for soon in range(piece, piece + _PIECES_AHEAD):
                        for read in reads.get(soon, ()):
                            files.will_read(read)
                for at, address, nbytes in copies.get(piece, ()):
                    ctypes.memmove(base + at, address, nbytes)
                for read in reads.get(piece, ()):
                    files.read(read, base)

            return sums_while_filling(target, write)

    def _regions_within(self, start: int, end: int) -> range:
        regions = self.packing.regions
        first = bisect.bisect_right(regions, start, key=lambda region: region.end)
        return range(first, bisect.bisect_left(regions, end, lo=first, key=lambda region: region.offset))

    def let_go(self, end: int) -> None:
        """Point the tensors of all regions before byte `end` at nothing and drop what they were read from."""
        done = self._released
        while done < len(self.packing.regions) and self.packing.regions[done].end <= end:
            self._sources[done] = None
            done += 1
        gone = range(self._released, done)
        point_at_nothing(packed for packed in self.packing.tensors if packed.region in gone)
        self._released = done
        give_freed_memory_back()


def _pieces(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Bytes `start` to `end` by the pieces that they are in: its number, first byte, how many."""
    while start < end:
        piece = start // PIECE_BYTES
        past = min(end, (piece + 1) * PIECE_BYTES)
        yield piece, start, past - start
        start = past
