"""Tensors that can't be packed into an arena: moved on their own, and reported, never left where they are in silence.

A quantized tensor has scales beside its bytes, a sparse one several tensors inside, a subclass that dispatches for
itself may have anything, and a lazily conjugated one is a bit and not bytes. torch's own `.to()` knows how to move
each; the price is a copy of its own per tensor, and a new object on the device.
"""

from collections.abc import Iterable

import torch

from ....errors import DeviceFull, IntegrityError
from ..checks.checksum import checksum
from ..device import DeviceBackend, Sent
from ..out_of_memory import lacks_memory
from .inventory import Found

# What the contents of a tensor come to: dtypes, shapes and checksums of its parts; None when it has none to look at.
Digest = tuple[object, ...] | None
_NOT_LOADED: Digest = ("put in after the load",)


def why_apart(tensor: torch.Tensor) -> str | None:
    """Why a tensor can't lie in an arena; None when it can."""
    if _dispatches(tensor):
        return f"{type(tensor).__name__} dispatches for itself"
    if tensor.is_nested:
        return "it is nested"
    if tensor.layout is not torch.strided:
        return f"its layout is {tensor.layout}"
    if tensor.is_quantized:
        return f"it is quantized ({tensor.qscheme()})"
    if tensor.is_conj() or tensor.is_neg():
        return "it is a conjugated or negated view"
    return None


def _dispatches(tensor: torch.Tensor) -> bool:
    return type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__


class Apart:
    """One such tensor. Its copy in host RAM stays, as the mirror of a bundle does; the device has another object.

    as_loaded: `load` gave it; False when the user put it in later. on_device: where it was made, then.
    """

    def __init__(self, found: Found, reason: str, *, as_loaded: bool = True, on_device: bool = False) -> None:
        self.path, self.reason, self.saved = found.path, reason, found.saved
        self._found, self.current = found, found.tensor
        self._host = found.tensor.to("cpu", copy=True) if on_device else found.tensor
        self._digest = _digest(self._host)
        self._as_loaded = self._digest if as_loaded else _NOT_LOADED
        self._sent: Sent | None = None
        self._away = self._was_away = on_device
        self._stays = None in found.places
        if found.tensor.layout is torch._mkldnn:  # type: ignore[attr-defined]
            self._stays = True
            self.reason += ", which is for the CPU alone, so it stays in host RAM"
        elif self._stays:
            self.reason += ", and it is held where nothing can be put in its stead, so it stays in host RAM"

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in _parts(self._host) or ())

    @property
    def device_bytes(self) -> int:
        return self.nbytes if self._away else 0

    @property
    def dirty(self) -> bool:
        """Of what can't be looked into nobody knows, once it has been in use."""
        return self.saved and (self._digest != self._as_loaded or (self._digest is None and self._was_away))

    @property
    def change(self) -> str:
        return f"{self.path!r} ({'added' if self._as_loaded is _NOT_LOADED else 'other values'})"

    def send(self, device: DeviceBackend) -> None:
        """Host → device, compared. Raises `DeviceFull`, `CopyFailed` or `IntegrityError`; still on the host then."""
        if self._away or self._stays:
            return
        sent = device.send(self._host, self.nbytes)
        try:
            arrived = _digest(sent.tensor)
            if arrived != self._digest:
                self.take_in()  # it was written to while it slept: that is in force from now on
                if arrived != self._digest:
                    raise IntegrityError(f"tensor {self.path!r}: other bytes arrived on {device.name}; ask again")
        except BaseException as error:
            sent.close()
            if lacks_memory(error):
                memory = device.memory()
                raise DeviceFull(device.name, self.nbytes, memory.total - memory.used) from error
            raise
        self._sent, self._away, self._was_away = sent, True, True
        self._put(sent.tensor)

    def found_at(self, found: Found) -> "Apart":
        """It is held in these places now."""
        self._found = found
        return self

    def forget(self) -> None:
        """The model has it no more."""
        if self._sent is not None:
            self._sent.close()
            self._sent = None

    def take_in(self) -> None:
        """Bring the host's copy up to date with the device's; asleep, what is known of it."""
        if not self._away:
            self._digest = _digest(self._host)
        else:
            try:
                digest = _digest(self.current)
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
                # A full device must not keep it there: it is copied without a look at what has changed.
                self._host = self.current.to("cpu", copy=True)
                self._digest = _digest(self._host)
                return
            if digest is None or digest != self._digest:
                self._host, self._digest = self.current.to("cpu", copy=True), digest

    def leave(self) -> None:
        """Put the host's copy back in its place and give the device's memory back."""
        if self._away:
            self._away = False
            self._put(self._host)
            if self._sent is not None:
                self._sent.close()
                self._sent = None

    def _put(self, tensor: torch.Tensor) -> None:
        if isinstance(self._host, torch.nn.Parameter) and not isinstance(tensor, torch.nn.Parameter):
            tensor = torch.nn.Parameter(tensor, requires_grad=self._host.requires_grad)
        self.current = tensor
        self._found.replace(tensor)


def report(apart: Iterable[Apart]) -> tuple[str, ...]:
    return tuple(f"{one.path}: {one.reason}" for one in apart)


def _digest(tensor: torch.Tensor) -> Digest:
    parts = _parts(tensor)
    if parts is None:
        return None
    return tuple((part.dtype, tuple(part.shape), _sum(part)) for part in parts)


def _sum(part: torch.Tensor) -> int:
    flat = part.detach().contiguous().reshape(-1).view(torch.uint8)
    rest = -flat.numel() % 8  # without any, `pad` would still make a copy
    return checksum(torch.nn.functional.pad(flat, (0, rest)) if rest else flat)


def _parts(tensor: torch.Tensor) -> list[torch.Tensor] | None:
    """The ordinary tensors that it consists of; None when they can't be had."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return _all_parts(getattr(tensor, name) for name in names)
    if why_apart(tensor) is None:
        return [tensor]
    if _dispatches(tensor):
        inner = [value for value in vars(tensor).values() if isinstance(value, torch.Tensor)]
        return _all_parts(inner) if inner else None
    tensor = tensor.detach()
    if tensor.is_nested:
        return list(tensor.unbind())
    if tensor.layout is torch._mkldnn:  # type: ignore[attr-defined]
        return [tensor.to_dense()]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    if tensor.is_quantized:
        return [tensor.int_repr(), *_scales(tensor)]
    if tensor.is_conj() or tensor.is_neg():
        return [tensor.resolve_conj().resolve_neg()]
    return None


def _all_parts(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor] | None:
    inner = [_parts(tensor) for tensor in tensors]
    return None if None in inner else [part for parts in inner for part in parts or ()]


def _scales(tensor: torch.Tensor) -> list[torch.Tensor]:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [torch.tensor([tensor.q_scale(), tensor.q_zero_point()], dtype=torch.float64)]
    return [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()]
