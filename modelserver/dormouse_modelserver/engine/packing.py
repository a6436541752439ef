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
class Source:
    """The bytes that a region is filled from: `nbytes` of the region's from `start` on."""

    storage: torch.UntypedStorage
    start: int


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor object of the user's and the view that it becomes: offset and strides in elements.

    saved: a parameter or buffer (see `Found`).
    inference: made under `torch.inference_mode`. Such a tensor has no version counter for good, and given
    the data of an ordinary one it would raise at its next use.
    """

    tensor: torch.Tensor
    path: str
    region: Region
    offset: int
    shape: torch.Size
    stride: tuple[int, ...]
    saved: bool
    inference: bool

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
    sources: tuple[Source, ...]

    def gather(self, target: torch.Tensor) -> None:
        """Copy every storage into its region of `target` (flat uint8). Gaps are left as they are."""
        for region, source in zip(self.regions, self.sources, strict=True):
            if region.nbytes:
                flat = torch.empty(0, dtype=torch.uint8, device=source.storage.device).set_(source.storage)
                bytes_there = flat[source.start : source.start + region.nbytes]
                target[region.offset : region.offset + region.nbytes].copy_(bytes_there)

    def without_sources(self) -> "Packing":
        """The same without holding on to the storages that the bytes came from."""
        return Packing(self.total_bytes, self.regions, self.tensors, ())

    def point_at(self, arena: torch.Tensor) -> None:
        """Make every tensor a view into `arena`."""
        storage = arena.untyped_storage()
        for packed in self.tensors:
            with torch.inference_mode(packed.inference):
                view = torch.empty(0, dtype=packed.tensor.dtype, device=arena.device)
                view.set_(storage, packed.offset, packed.shape, packed.stride)
                packed.tensor.data = view

    def point_at_nothing(self) -> None:
        """Make every tensor empty: reading it raises in torch, and nothing of the arena is held any more."""
        for packed in self.tensors:
            with torch.inference_mode(packed.inference):
                packed.tensor.data = torch.empty(0, dtype=packed.tensor.dtype)


def pack(found: Iterable[Found], arena: torch.Tensor | None = None, laid_out: tuple[Region, ...] = ()) -> Packing:
    """Lay out the tensors, one region for each storage.

    With `arena` and the regions `laid_out` in it, tensors that view the arena keep the region that they are
    in: the arena is one storage, and taken whole it would bring along what nobody views any more.

    Raises `LoadFailed` with the path of a tensor that can't be moved in an arena.
    """
    found = list(found)
    for item in found:
        _check_movable(item)
    homes = [_home(item, arena, laid_out) for item in found]
    saved = {home.key for item, home in zip(found, homes, strict=True) if item.saved}
    regions: dict[tuple[int, int], Region] = {}
    sources: list[Source] = []
    end = 0
    tensors: list[PackedTensor] = []
    for item, home in zip(found, homes, strict=True):
        region = regions.get(home.key)
        if region is None:
            region = Region(end, home.nbytes, home.key in saved)
            end += -(-region.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
            regions[home.key] = region
            sources.append(home.source)
        tensor = item.tensor
        size = tensor.element_size()
        offset = region.offset // size + int(tensor.storage_offset()) - home.source.start // size
        tensors.append(
            PackedTensor(
                tensor,
                item.path,
                region,
                offset,
                tensor.shape,
                tuple(tensor.stride()),
                item.saved,
                tensor.is_inference(),
            )
        )
    return Packing(end, tuple(regions.values()), tuple(tensors), tuple(sources))


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a tensor's bytes are before they are packed; tensors with one `key` share them."""

    key: tuple[int, int]
    source: Source
    nbytes: int


def _home(item: Found, arena: torch.Tensor | None, laid_out: tuple[Region, ...]) -> _Home:
    tensor = item.tensor
    storage = tensor.untyped_storage()
    identity = int(storage._cdata)
    if arena is None or storage.data_ptr() != arena.untyped_storage().data_ptr():
        return _Home((identity, 0), Source(storage, 0), storage.nbytes())
    size = tensor.element_size()
    first = int(tensor.storage_offset()) * size
    if tensor.numel() == 0:
        return _Home((0, id(tensor)), Source(storage, first), 0)
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    past = first + (sum((length - 1) * step for length, step in steps) + 1) * size
    for region in laid_out:
        if region.offset <= first and past <= region.offset + region.nbytes:
            return _Home((identity, region.offset), Source(storage, region.offset), region.nbytes)
    raise LoadFailed(
        f"tensor {item.path!r} was made a view over several weights at once and can't be moved without them; "
        "give it a storage of its own"
    )


def _check_movable(item: Found) -> None:
    tensor = item.tensor
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    if not plain or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        raise LoadFailed(
            f"tensor {item.path!r} ({type(tensor).__name__}, {tensor.layout}) can't be packed into an arena; "
            "the model was not loaded. Convert it to an ordinary strided tensor in `load`"
        )
