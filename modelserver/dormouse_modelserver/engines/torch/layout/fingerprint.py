"""What a model's parameters and buffers are: by this `Dirty` is judged, and whether `load` gives the same each time."""

from collections.abc import Callable

import torch

from ..checks.checksum import checksum
from .packing import Packing

Checksum = Callable[[torch.Tensor], int]
# By path: dtype, place in its region, shape, strides, and the checksum of the region.
Fingerprint = dict[str, tuple[object, ...]]


def fingerprint(
    packing: Packing, bytes_of: Callable[[int, int], torch.Tensor], checksum: Checksum = checksum
) -> Fingerprint:
    """`bytes_of(region, n)` gives the first n bytes of a region, flat uint8, wherever they are.

    checksum: another way to the same sum, for bytes on a device that may be full.
    """
    sums: dict[int, int] = {}
    prints: Fingerprint = {}
    for packed in packing.tensors:
        if not packed.saved:
            continue
        region = packing.regions[packed.region]
        if packed.region not in sums:
            sums[packed.region] = _sum(bytes_of(packed.region, region.nbytes), checksum)
        within = packed.offset - region.offset // packed.dtype.itemsize
        prints[packed.path] = (packed.dtype, within, packed.shape, packed.stride, sums[packed.region])
    return prints


def _sum(data: torch.Tensor, checksum: Checksum) -> int:
    rest = data.numel() % 8
    if not rest:
        return checksum(data)
    # Whole words are summed where they are; only the last, torn one is made whole with zeros, in host RAM: even so
    # few bytes would need memory on a device.
    whole = data.numel() - rest
    tail = torch.nn.functional.pad(data[whole:].cpu(), (0, 8 - rest))
    return hash((checksum(data[:whole]), checksum(tail)))
