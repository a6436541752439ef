"""How the tensors of a model lie in one arena: packed by storage, so that sharing survives every move.

Tied parameters, views and overlapping strides share bytes of a storage; bytes that are shared get one region, and each
tensor is a view into its region with the strides that it had. What merely lies side by side in a storage, such as
the tensors of a memory-mapped file, gets a region each, with the alignment that kernels expect.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from .asleep import Form, fall_asleep, is_as_left, wake_up
from .inventory import Found
from .pointing import point

# Region starts: what CUDA allocations guarantee and vectorised kernels expect.
_ALIGNMENT_BYTES = 256
# The widest element (complex128): views of other dtypes keep their alignment within the region.
_ELEMENT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes that move together: a place in the arena. saved: a parameter or buffer is in it."""

    offset: int
    nbytes: int
    saved: bool

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


@dataclass(frozen=True, slots=True)
class Source:
    """Where a region's bytes come from: its `nbytes` of `storage` from `start` on."""

    storage: torch.UntypedStorage
    start: int

    def bytes(self, start: int, end: int) -> torch.Tensor:
        """The region's bytes `start` to `end` as a flat uint8 view."""
        flat = torch.empty(0, dtype=torch.uint8, device=self.storage.device)
        flat.set_(self.storage, self.start + start, (end - start,), (1,))
        return flat


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor object of the user's and the view that it becomes: offset and strides in elements.

    region: its number. saved: a parameter or buffer (see `Found`).
    inference: made under `torch.inference_mode`. Such a tensor has no version counter for good, and given
    the data of an ordinary one it would raise at its next use.
    """

    tensor: torch.Tensor
    form: Form
    region: int
    offset: int
    saved: bool
    inference: bool

    @property
    def path(self) -> str:
        return self.form.path

    @property
    def shape(self) -> torch.Size:
        return self.form.shape

    @property
    def stride(self) -> tuple[int, ...]:
        return self.form.stride

    @property
    def dtype(self) -> torch.dtype:
        return self.form.dtype

    def still_packed_at(self, base: int) -> bool:
        """Whether the tensor is still the view into the arena at address `base` that we made of it."""
        tensor, form = self.tensor, self.form
        return bool(
            tensor.untyped_storage().data_ptr() == base
            and tensor.storage_offset() == self.offset
            and tensor.dtype is form.dtype
            and tensor.shape == form.shape
            and tensor.stride() == form.stride
        )


@dataclass(frozen=True, slots=True)
class Packing:
    """`total_bytes` of arena, the regions in it in order, and the tensors that view them."""

    total_bytes: int
    regions: tuple[Region, ...]
    tensors: tuple[PackedTensor, ...]

    def point_at(self, arena: torch.Tensor) -> None:
        """Make every tensor a view into `arena`, which is flat uint8 and has `total_bytes`: it is awake."""
        for inference, group in _by_inference(self.tensors):
            wholes: dict[torch.dtype, torch.Tensor] = {}
            with _bytes_alone(inference):
                for packed in group:
                    tensor, form = packed.tensor, packed.form
                    whole = wholes.get(form.dtype)
                    if whole is None:
                        whole = wholes[form.dtype] = _whole(arena, form.dtype)
                    wake_up(tensor)
                    point(tensor, whole.as_strided(form.shape, form.stride, packed.offset))

    def point_at_nothing(self) -> None:
        """Put every tensor to sleep: nothing of the arena is held any more, and its use is refused."""
        point_at_nothing(self.tensors)

    def as_left_asleep(self) -> "Packing":
        """The same without the sleeping tensors that somebody has given other bytes, past their refusal: awake now."""
        with torch._C.DisableTorchFunctionSubclass():
            left = tuple(packed for packed in self.tensors if is_as_left(packed.tensor, packed.form))
            if len(left) == len(self.tensors):
                return self
            kept = {id(packed) for packed in left}
            for packed in self.tensors:
                if id(packed) not in kept:
                    wake_up(packed.tensor)
        return replace(self, tensors=left)

    def versions(self) -> dict[int, int]:
        """By the tensor's id, how often it was written to, also through one that viewed its bytes, asleep or not."""
        with torch._C.DisableTorchFunctionSubclass():
            return {id(packed.tensor): packed.tensor._version for packed in self.tensors if not packed.inference}

    def without(self, gone: Collection[int]) -> "Packing":
        """The same place for all bytes, and some tensors (by id) less."""
        return replace(self, tensors=tuple(packed for packed in self.tensors if id(packed.tensor) not in gone))

    def regions_of(self, chosen: Collection[int]) -> list[int]:
        """The numbers of the regions that hold some of these tensors (by id)."""
        return sorted({packed.region for packed in self.tensors if id(packed.tensor) in chosen})

    def select(self, numbers: Iterable[int]) -> "Packing":
        """Some of the regions, in the order given, and their tensors: a layout of its own."""
        regions: dict[int, Region] = {}
        end = 0
        for number in numbers:
            region = self.regions[number]
            regions[number] = replace(region, offset=end)
            end += _padded(region.nbytes)
        new_number = {number: index for index, number in enumerate(regions)}
        tensors = []
        for packed in self.tensors:
            if packed.region in regions:
                moved = regions[packed.region].offset - self.regions[packed.region].offset
                offset = packed.offset + moved // packed.dtype.itemsize
                tensors.append(replace(packed, region=new_number[packed.region], offset=offset))
        return Packing(end, tuple(regions.values()), tuple(tensors))


def point_at_nothing(tensors: Iterable[PackedTensor]) -> None:
    for inference, group in _by_inference(tensors):
        nothing: dict[torch.dtype, torch.Tensor] = {}
        with _bytes_alone(inference):
            for packed in group:
                tensor, dtype = packed.tensor, packed.dtype
                empty = nothing.get(dtype)
                if empty is None:
                    empty = nothing[dtype] = torch.empty(0, dtype=dtype, device="cpu")
                point(tensor, empty)
                fall_asleep(tensor, packed.form)


def _by_inference(tensors: Iterable[PackedTensor]) -> Iterator[tuple[bool, list[PackedTensor]]]:
    """Not tensor by tensor: entering a mode of torch costs more than setting the data, and there are thousands."""
    groups: dict[bool, list[PackedTensor]] = {False: [], True: []}
    for packed in tensors:
        groups[packed.inference].append(packed)
    yield from groups.items()


@contextmanager
def _bytes_alone(inference: bool) -> Iterator[None]:
    """A subclass may have opinions on attribute access, which are not asked for: this is about its bytes only."""
    with torch.inference_mode(inference), torch._C.DisableTorchFunctionSubclass():
        yield


def pack(found: Iterable[Found], model_name: str = "") -> tuple[Packing, tuple[Source, ...]]:
    """Lay out the tensors, one region for each stretch of bytes that some of them share; sources by region."""
    found = list(found)
    stretches = _stretches(found)
    saved = {id(stretches[n]) for n, item in enumerate(found) if item.saved}
    numbers: dict[int, int] = {}
    regions: list[Region] = []
    sources: list[Source] = []
    tensors: list[PackedTensor] = []
    end = 0
    for item, stretch in zip(found, stretches, strict=True):
        tensor = item.tensor
        number = numbers.setdefault(id(stretch), len(regions))
        if number == len(regions):
            regions.append(Region(end, stretch.past - stretch.first, id(stretch) in saved))
            sources.append(Source(stretch.storage, stretch.first))
            end += _padded(regions[-1].nbytes)
        size = tensor.element_size()
        offset = (regions[number].offset - stretch.first) // size + int(tensor.storage_offset())
        if not tensor.numel():
            offset = regions[number].offset // size
        form = Form(model_name, item.path, tensor.shape, tuple(tensor.stride()), tensor.dtype)
        tensors.append(PackedTensor(tensor, form, number, offset, item.saved, tensor.is_inference()))
    return Packing(end, tuple(regions), tuple(tensors)), tuple(sources)


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


@dataclass(slots=True)
class _Stretch:
    """Bytes of a storage, from `first` to before `past`, that at least one tensor views."""

    storage: torch.UntypedStorage
    first: int
    past: int


def _stretches(found: list[Found]) -> list[_Stretch]:
    """For each tensor the stretch that it is in; tensors whose bytes overlap are in the same one."""
    by_storage: dict[int, list[tuple[int, int, int]]] = {}
    result: list[_Stretch | None] = [None] * len(found)
    for number, item in enumerate(found):
        storage = item.tensor.untyped_storage()
        first, past = _extent(item.tensor)
        if first == past:
            result[number] = _Stretch(storage, 0, 0)
        else:
            by_storage.setdefault(int(storage._cdata), []).append((first, past, number))
    for extents in by_storage.values():
        current: _Stretch | None = None
        for first, past, number in sorted(extents):
            if current is None or first >= current.past:
                aligned = first - first % _ELEMENT_BYTES
                current = _Stretch(found[number].tensor.untyped_storage(), aligned, past)
            current.past = max(current.past, past)
            result[number] = current
    return [stretch for stretch in result if stretch is not None]


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """The bytes of its storage that a tensor can reach: the first, and the one past the last."""
    size = tensor.element_size()
    first = int(tensor.storage_offset()) * size
    if not tensor.numel():
        return first, first
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return first, first + (sum((length - 1) * step for length, step in steps) + 1) * size


def _whole(arena: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The arena as one flat tensor of that dtype, of which all others are views."""
    whole = torch.empty(0, dtype=dtype, device=arena.device)
    length = arena.numel() // whole.element_size()
    return whole.set_(arena.untyped_storage(), arena.storage_offset() // whole.element_size(), (length,), (1,))
