"""The part of the checksum that goes over all bytes: rows of 4 KiB, each summed to 64 bits.

A row is 1,024 lanes of 32 bits. One half of its sum is the lanes times odd factors, modulo 2^32: an odd factor loses no
bit, so any single changed lane changes the sum, and so do two that are swapped. But of a lane's highest bit any such
sum keeps only the parity: two flipped signs of float32 would cancel out (seen to happen). So the other half is taken of
the same bytes moved by two, where that bit stands in the middle of a lane.

This is the cheapest that was found among torch's own loops: a product of int32 matrices runs at three times the speed
of one of int64, and a move by two bytes costs no more than a shift. A CPU sums what is in its cache, so the bytes come
from memory once.
"""

import ctypes
import functools
from collections.abc import Callable

import torch

LANES = 1024
ROW_BYTES = 4 * LANES
# Moved by two bytes as a whole, with zeros behind; what a CPU has in work is twice that, and stays in its cache.
_PIECE_ROWS = 128
PIECE_BYTES = _PIECE_ROWS * ROW_BYTES

# Writes bytes `start` to `end` of what is summed.
Fill = Callable[[int, int], None]


def rows_in(nbytes: int) -> int:
    """The last one may be short; it is summed as if zeros followed."""
    return -(-nbytes // ROW_BYTES)


def sum_rows(data: torch.Tensor, out: torch.Tensor, fill: Fill | None = None) -> None:
    """Flat uint8 in host RAM → the two halves of each row's sum, `out[0]` and `out[1]`.

    fill: called for each piece before it is summed.
    """
    whole = data.numel() // PIECE_BYTES * PIECE_BYTES
    # One tensor for all pieces, and views made at once: what torch takes for a call would be a fifth of the time.
    moved = torch.zeros(_PIECE_ROWS, LANES, dtype=torch.int32, device="cpu")
    pieces = data[:whole].view(torch.int32).view(-1, _PIECE_ROWS, LANES).unbind()
    halves = out[:, : whole // ROW_BYTES].view(2, -1, _PIECE_ROWS, 1)
    for number, (piece, one, other) in enumerate(zip(pieces, halves[0].unbind(), halves[1].unbind(), strict=True)):
        if fill is not None:
            fill(number * PIECE_BYTES, (number + 1) * PIECE_BYTES)
        _sum_piece(piece, moved, one, other)
    if whole < data.numel():
        if fill is not None:
            fill(whole, data.numel())
        rest = _padded(data[whole:]).view(torch.int32).view(-1, LANES)
        one, other = out[:, whole // ROW_BYTES :][:, : rest.shape[0]].unsqueeze(2)
        _sum_piece(rest, torch.zeros_like(rest), one, other)


def _sum_piece(lanes: torch.Tensor, moved: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> None:
    """moved: as large, and its last two bytes are 0."""
    # Columns of transposed matrices: for any others, torch takes a loop that is half as fast.
    factors = _columns()
    torch.mm(lanes, factors[0], out=one)
    # Not torch's copy, which would split so much over all cores, and wait for them (see `checksum`).
    ctypes.memmove(moved.data_ptr(), lanes.data_ptr() + 2, 4 * lanes.numel() - 2)
    torch.mm(moved, factors[1], out=other)


def sum_rows_on_device(data: torch.Tensor, out: torch.Tensor, scratch: torch.Tensor) -> None:
    """The same where there is no product of integer matrices, as on CUDA: products first, then their sums.

    scratch: flat int32 there, of whole pieces or as much as the data.
    """
    whole = data.numel() // PIECE_BYTES * PIECE_BYTES
    _sum_rows_within(data[:whole], out, scratch)
    if whole < data.numel():
        _sum_rows_within(_padded(data[whole:]), out[:, whole // ROW_BYTES :], scratch)


def _sum_rows_within(data: torch.Tensor, out: torch.Tensor, scratch: torch.Tensor) -> None:
    rows, factors = data.view(torch.int32).view(-1, LANES), _factors(data.device)
    at_once = scratch.numel() // LANES
    for first in range(0, rows.shape[0], at_once):
        part = rows[first : first + at_once]
        here = slice(first, first + part.shape[0])
        products = scratch[: part.numel()].view(part.shape)
        torch.mul(part, factors[0], out=products)
        torch.sum(products, dim=1, dtype=torch.int32, out=out[0, here])
        moved = products.view(torch.int16)
        moved.view(-1)[:-1].copy_(part.view(torch.int16).view(-1)[1:])
        moved[_PIECE_ROWS - 1 :: _PIECE_ROWS, -1] = 0
        moved[-1, -1] = 0
        torch.mul(products, factors[1], out=products)
        torch.sum(products, dim=1, dtype=torch.int32, out=out[1, here])


def _padded(piece: torch.Tensor) -> torch.Tensor:
    """In whole rows."""
    padded = torch.zeros(rows_in(piece.numel()) * ROW_BYTES, dtype=torch.uint8, device=piece.device)
    padded[: piece.numel()].copy_(piece)
    return padded


@functools.cache
def _factors(device: torch.device) -> torch.Tensor:
    """For the lanes, and for those moved by two bytes.

    Odd, and no two of a kind are alike in their lowest 17 bits, nor is one the negative of another there: so no swap of
    two lanes of a row, and no flip of one bit in two of them, is lost in both sums, whichever bits they differ in.
    """
    generator = torch.Generator().manual_seed(0x0D0_4305E)

    def one() -> torch.Tensor:
        low = torch.randperm(1 << 15, generator=generator, device="cpu")[:LANES] * 2 + 1
        high = torch.randint(1 << 15, (LANES,), generator=generator, device="cpu") << 17
        sign = torch.randint(2, (LANES,), generator=generator, device="cpu") * 2 - 1
        return (sign * low + high).to(torch.int32)

    return torch.stack((one(), one())).to(device)


@functools.cache
def _columns() -> tuple[torch.Tensor, torch.Tensor]:
    one, other = _factors(torch.device("cpu")).unsqueeze(1)
    return one.t(), other.t()
