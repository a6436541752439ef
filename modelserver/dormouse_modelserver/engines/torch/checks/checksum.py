"""A 64-bit checksum that depends on every byte and its place, taken where the bytes are.

Rows of 4 KiB are summed first (`rows`), then 1,024 of these sums at a time: times odd factors, modulo 2^64, with the
upper half of each word counted once more with a factor of its own, so that no bit is left with its parity alone. What
comes of each such block is mixed and summed the same way. It guards against changes and broken copies, not against an
adversary. It is compared within one process only; nothing keeps it.

On a GPU it is bound by memory bandwidth. On a CPU it takes about 1.4 times the work of a copy of the same bytes. There
it has threads of its own, because torch's split each small operation over all cores and, as soon as more than one
thread of the process computes, wait for each other at every one of them (seen: three times slower).

A GPU may be full to the brim when its bytes are summed, for that is when a model has to leave. So the work makes do
with less and less memory, down to 1 MiB, and gives the same sum each time; `checksum_in_host_ram` needs none there.
"""

import functools
from collections.abc import Callable, Iterable

import torch

from ....errors import DeviceFull
from ..out_of_memory import lacks_memory
from ..threads import in_threads
from .rows import PIECE_BYTES, ROW_BYTES, Fill, rows_in, sum_rows, sum_rows_on_device

_BLOCK_ROWS = 1024
BLOCK_BYTES = _BLOCK_ROWS * ROW_BYTES
# What a thread takes at once, or a GPU's sums are kept of at once: so much that to hand it over costs nothing.
SHARE_BYTES = 4 * BLOCK_BYTES
_GROUP_BYTES = 16 * BLOCK_BYTES
# What is in work on a GPU: 64 MiB, since launches cost more there than misses, and less where that much is not free.
# Nothing between 1 and 10 MiB: for such a request torch takes 20 MiB from the driver, for 1 MiB it takes 2.
_GPU_SCRATCH_BYTES = (64 << 20, 32 << 20, 16 << 20, 1 << 20)
# What the driver must have free at least: torch takes 2 MiB for the scratch, and 2 for the sums if it has none left.
CHECKSUM_NEEDS_BYTES = 4 << 20
# Brought to host RAM at once, in whole blocks.
_STAGE_BYTES = 4 * BLOCK_BYTES
_MAX_THREADS = 8
# Whoever reads from a disk waits for it, so there are more of them than cores on a small machine.
_FILLING_THREADS = 4
_MASK = (1 << 64) - 1
# Odd, from the fractional part of the golden ratio (Knuth's multiplicative hashing).
_BLOCK_FACTOR = 0x9E3779B97F4A7C15

_Scratch = Callable[[int], torch.Tensor]


def checksum(data: torch.Tensor) -> int:
    """Of a flat, contiguous uint8 tensor whose size is a multiple of 8 bytes.

    Raises what `lacks_memory` knows when the tensor is on a device that has no memory left for the work.
    """
    return combined(_block_sums(data))


def checksum_in_host_ram(data: torch.Tensor) -> int:
    """The same of bytes on a device, without any of its memory: a little at a time is copied and summed here.

    The buffer is not pinned and not asked for in the host's budget, so that nothing can refuse it: it is 16 MiB.
    """
    stage = torch.empty(min(_STAGE_BYTES, data.numel()), dtype=torch.uint8, device="cpu")
    sums: list[int] = []
    for start in range(0, data.numel(), _STAGE_BYTES):
        piece = data[start : start + _STAGE_BYTES]
        sums += _block_sums(stage[: piece.numel()].copy_(piece))
    return combined(sums)


def checksum_at_any_price(on_device: Callable[[torch.Tensor], int], data: torch.Tensor) -> int:
    """`on_device(data)`, or in host RAM when that raises `DeviceFull`."""
    try:
        return on_device(data)
    except DeviceFull:
        return checksum_in_host_ram(data)


def sums_while_filling(data: torch.Tensor, fill: Fill) -> list[int]:
    """The sums of the blocks of `data`, in host RAM, each piece of which `fill` writes just before it is summed: so it
    is summed where it arrived, and yet comes from memory once.

    `combined` makes a checksum of them; of those of several stretches, too, where each but the last is whole blocks.
    fill: called in several threads. What it raises is raised here when all of them are done.
    """
    threads = max(_FILLING_THREADS, min(torch.get_num_threads(), _MAX_THREADS))
    return _cpu_sums(data, threads, fill)


def prepare_checksum(device: torch.device) -> None:
    """Put on the device early what would need memory there at the worst moment: the factors, and the kernels, which
    CUDA loads at their first use. What lacks memory now is tried again when it is needed."""
    try:
        checksum(torch.zeros(PIECE_BYTES + 8, dtype=torch.uint8, device=device))
    except RuntimeError as error:
        if not lacks_memory(error):
            raise


def combined(sums: Iterable[int]) -> int:
    """One of many, in their order. Each is mixed first, so that changes of two blocks don't add up."""
    total, factor = 0, 1
    for value in sums:
        factor = factor * _BLOCK_FACTOR & _MASK
        mixed = value & _MASK
        mixed = (mixed ^ mixed >> 32) * _BLOCK_FACTOR & _MASK
        total = total + (mixed ^ mixed >> 29) * factor & _MASK
    return total


def _block_sums(data: torch.Tensor) -> list[int]:
    if data.device.type != "cpu":
        return _gpu_sums(data, lambda nbytes: torch.empty(nbytes, dtype=torch.uint8, device=data.device))
    return _cpu_sums(data, min(torch.get_num_threads(), _MAX_THREADS))


def _cpu_sums(data: torch.Tensor, threads: int, fill: Fill | None = None) -> list[int]:
    def share(start: int) -> list[int]:
        part = data[start : start + SHARE_BYTES]
        states = _states(part)
        sum_rows(part, states, None if fill is None else lambda first, past: fill(start + first, start + past))
        return [int(value) for value in _sums_of_blocks(states).tolist()]

    starts = range(0, data.numel(), SHARE_BYTES)
    return [value for sums in in_threads(share, starts, threads, "dormouse-checksum") for value in sums]


def _gpu_sums(data: torch.Tensor, scratch: _Scratch) -> list[int]:
    """With as much scratch memory as there is."""
    for nbytes in _GPU_SCRATCH_BYTES:
        try:
            return _sums_within(data, scratch(min(nbytes, rows_in(data.numel()) * ROW_BYTES)))
        except RuntimeError as error:
            if nbytes == _GPU_SCRATCH_BYTES[-1] or not lacks_memory(error):
                raise
    raise AssertionError("the last size either fits or raises")


def _sums_within(data: torch.Tensor, scratch: torch.Tensor) -> list[int]:
    # One tensor for all sums: a small one for each group would take torch's 512 bytes, and there can be thousands.
    sums = torch.empty(-(-data.numel() // BLOCK_BYTES), dtype=torch.int64, device=data.device)
    done = 0
    for start in range(0, data.numel(), _GROUP_BYTES):
        part = data[start : start + _GROUP_BYTES]
        states = _states(part)
        sum_rows_on_device(part, states, scratch.view(torch.int32))
        of_group = _sums_of_blocks(states)
        sums[done : done + of_group.numel()] = of_group
        done += of_group.numel()
    return [int(value) for value in sums.tolist()]


def _states(part: torch.Tensor) -> torch.Tensor:
    """Room for the sums of its rows, in whole blocks: both halves, one after the other."""
    blocks = -(-part.numel() // BLOCK_BYTES)
    return torch.zeros(2, blocks * _BLOCK_ROWS, dtype=torch.int32, device=part.device)


def _sums_of_blocks(states: torch.Tensor) -> torch.Tensor:
    whole, upper = _factors(states.device)
    words = states.view(2, -1, _BLOCK_ROWS).transpose(0, 1).reshape(-1, 2 * _BLOCK_ROWS).view(torch.int64)
    return (words * whole).sum(dim=1) + torch.bitwise_right_shift(words, 32).mul_(upper).sum(dim=1)


@functools.cache
def _factors(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For whole words and for their upper halves."""
    generator = torch.Generator().manual_seed(0x0D0_4305E)
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    values = torch.randint(low, high, (2, _BLOCK_ROWS), generator=generator, device="cpu")
    whole, upper = (values | 1).to(device).unbind()
    return whole, upper
