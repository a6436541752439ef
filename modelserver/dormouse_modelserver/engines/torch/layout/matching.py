"""Matches a layout with the tensors that a model has, and with bytes that lie in it."""

from collections.abc import Callable, Collection

import torch

from .inventory import Found
from .packing import Packing


def still_packed(packing: Packing, data: torch.Tensor, found: list[Found]) -> bool:
    """Whether these tensors are those of the layout, and each is still a view into `data` where it was put.

    Laid out anew without its last tensor, the rest would be where it was, and the bytes would be fewer.
    """
    tensors = packing.tensors
    if len(found) != len(tensors) or packing.total_bytes != data.numel():
        return False
    if any(item.tensor is not packed.tensor for item, packed in zip(found, tensors, strict=True)):
        known = {id(packed.tensor) for packed in tensors}  # a sharer's inventory has another order
        if any(id(item.tensor) not in known for item in found):
            return False
    base = data.untyped_storage().data_ptr()
    with torch._C.DisableTorchFunctionSubclass():
        return all(packed.still_packed_at(base) for packed in tensors)


def as_found(packing: Packing) -> list[Found]:
    """The tensors of the layout, as an inventory would name them."""
    return [Found(packed.tensor, packed.saved, packed.path, None) for packed in packing.tensors]


def part_of(packing: Packing, chosen: Collection[int]) -> frozenset[int] | None:
    """What a holder of these tensors (by id) has of the layout; None is all of it. Shared bytes can't be parted."""
    there = {id(packed.tensor) for packed in packing.tensors}.intersection(chosen)
    return None if len(packing.regions_of(there)) in (0, len(packing.regions)) else frozenset(there)


def slices(packing: Packing, data: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
    """`bytes_of(region, n)`: the first n bytes of a region of `data`, as a fingerprint asks for them."""

    def bytes_of(number: int, end: int) -> torch.Tensor:
        start = packing.regions[number].offset
        return data[start : start + end]

    return bytes_of
