"""How the tensors of a model lie in one arena: packed by storage, so that sharing survives every move.

Tied parameters, views and overlapping strides share a storage; each storage gets one region, and each
tensor is a view into its region with the offset and strides that it had.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..errors import LoadFailed
from .inventory import Found

# Region starts: what CUDA allocations guarantee and vectorised kernels expect.
_ALIGNMENT_BYTES = 256


@dataclass(frozen=True, slots=True)
class Region:
    """One storage's place in the arena, in bytes."""

    offset: int
    nbytes: int
    saved: bool


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor object of the user's and the view that it becomes: offset and strides in elements."""

    tensor: torch.Tensor
    path: str
    region: Region
    offset: int
    shape: torch.Size
    stride: tuple[int, ...]

    def still_packed_at(self, base: int) -> bool:
        """Whether the tensor is still the view into the arena at address `base` that we made of it."""
        tensor = self.tensor
        return bool(
            tensor.untyped_storage().data_ptr() == base
            and tensor.storage_offset() == self.offset
            and tensor.shape == self.shape
            and tensor.stride() == self.stride
        )


@dataclass(frozen=True, slots=True)
class Packing:
    """`total_bytes` of arena, the regions in it, and the tensors that view them."""

    total_bytes: int
    regions: tuple[Region, ...]
    tensors: tuple[PackedTensor, ...]
    sources: tuple[torch.UntypedStorage, ...]

    def gather(self, target: torch.Tensor) -> None:
        """Copy every storage into its region of `target` (flat uint8). Gaps are left as they are."""
        for region, source in zip(self.regions, self.sources, strict=True):
            if region.nbytes:
                flat = torch.empty(0, dtype=torch.uint8, device=source.device).set_(source)
                target[region.offset : region.offset + region.nbytes].copy_(flat[: region.nbytes])

    def without_sources(self) -> "Packing":
        """The same without holding on to the storages that the bytes came from."""
        return Packing(self.total_bytes, self.regions, self.tensors, ())

    def point_at(self, arena: torch.Tensor) -> None:
        """Make every tensor a view into `arena`."""
        storage = arena.untyped_storage()
        for packed in self.tensors:
            view = torch.empty(0, dtype=packed.tensor.dtype, device=arena.device)
            view.set_(storage, packed.offset, packed.shape, packed.stride)
            packed.tensor.data = view

    def point_at_nothing(self) -> None:
        """Make every tensor empty: reading it raises in torch, and nothing of the arena is held any more."""
        for packed in self.tensors:
            packed.tensor.data = torch.empty(0, dtype=packed.tensor.dtype)


def pack(found: Iterable[Found]) -> Packing:
    """Lay out the tensors. Raises `LoadFailed` with the path of a tensor that can't be moved in an arena."""
    found = list(found)
    regions: dict[int, Region] = {}
    sources: list[torch.UntypedStorage] = []
    saved_storages = {_key(item.tensor) for item in found if item.saved and _movable(item)}
    end = 0
    tensors: list[PackedTensor] = []
    for item in found:
        storage = item.tensor.untyped_storage()
        key = _key(item.tensor)
        region = regions.get(key)
        if region is None:
            region = Region(end, storage.nbytes(), key in saved_storages)
            end += -(-region.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
            regions[key] = region
            sources.append(storage)
        tensor = item.tensor
        offset = region.offset // tensor.element_size() + int(tensor.storage_offset())
        tensors.append(PackedTensor(tensor, item.path, region, offset, tensor.shape, tuple(tensor.stride())))
    return Packing(end, tuple(regions.values()), tuple(tensors), tuple(sources))


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _movable(item: Found) -> bool:
    tensor = item.tensor
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    if not plain or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        raise LoadFailed(
            f"tensor {item.path!r} ({type(tensor).__name__}, {tensor.layout}) can't be packed into an arena; "
            "the model was not loaded. Convert it to an ordinary strided tensor in `load`"
        )
    return True
