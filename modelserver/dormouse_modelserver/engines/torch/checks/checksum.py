"""A 64-bit checksum that depends on every byte and its place, taken where the bytes are.

Blocks times odd coefficients, summed modulo 2^64: an odd factor loses no bit, so any single changed word
changes the sum, and two swapped words or rows do too because their coefficients differ (a plain sum
misses them). The upper half of each word is counted once more with a coefficient of its own: of a change in
the highest bit, modulo 2^64, only the parity would be left, and two flipped signs in odd columns of float32
would cancel out (seen to happen). It guards against changes and broken copies, not against an adversary.

On a GPU it is bound by memory bandwidth. On a CPU it takes about 0.07 s per GB on two cores, where a copy of the
same bytes takes 0.05: threads of our own, because torch's split each small operation over all cores and, as soon as
more than one thread of the process computes, wait for each other at every one of them (seen: three times slower).

A GPU may be full to the brim when its bytes are summed, for that is when a model has to leave. So the work makes do
with less and less memory, down to 1 MiB, and gives the same sum each time; `checksum_in_host_ram` needs none there.
"""

import functools
from collections.abc import Callable

import torch

from ....errors import DeviceFull
from ..out_of_memory import lacks_memory
from ..threads import in_threads

_BLOCK_WORDS = 1 << 18
# Blocks at a time: what is in work, 4 MiB, stays in a CPU's cache.
_CPU_BLOCKS = 2
# What is in work on a GPU, in words: 64 MiB, since launches cost more there than misses, and less where that much is
# not free. Nothing between 1 and 10 MiB: for such a request torch takes 20 MiB from the driver, for 1 MiB it takes 2.
_GPU_SCRATCH_WORDS = (1 << 23, 1 << 22, 1 << 21, 1 << 17)
# What the driver must have free at least: torch takes 2 MiB for the scratch, and 2 for the sums if it has none left.
CHECKSUM_NEEDS_BYTES = 4 << 20
# Brought to host RAM at once, in whole blocks: enough for several threads.
_STAGE_BYTES = 8 * _BLOCK_WORDS * 8
_MAX_THREADS = 8
_MASK = (1 << 64) - 1
# Odd, from the fractional part of the golden ratio (Knuth's multiplicative hashing).
_BLOCK_FACTOR = 0x9E3779B97F4A7C15

_Scratch = Callable[[int], torch.Tensor]


def checksum(data: torch.Tensor) -> int:
    """Of a flat, contiguous uint8 tensor whose size is a multiple of 8 bytes.

    Raises what `lacks_memory` knows when the tensor is on a device that has no memory left for the work.
    """
    return _combine(_block_sums(data))


def checksum_in_host_ram(data: torch.Tensor) -> int:
    """The same of bytes on a device, without any of its memory: a little at a time is copied and summed here.

    The buffer is not pinned and not asked for in the host's budget, so that nothing can refuse it: it is 16 MiB.
    """
    stage = torch.empty(min(_STAGE_BYTES, data.numel()), dtype=torch.uint8, device="cpu")
    sums: list[int] = []
    for start in range(0, data.numel(), _STAGE_BYTES):
        piece = data[start : start + _STAGE_BYTES]
        sums += _block_sums(stage[: piece.numel()].copy_(piece))
    return _combine(sums)


def checksum_at_any_price(on_device: Callable[[torch.Tensor], int], data: torch.Tensor) -> int:
    """`on_device(data)`, or in host RAM when that raises `DeviceFull`."""
    try:
        return on_device(data)
    except DeviceFull:
        return checksum_in_host_ram(data)


def prepare_checksum(device: torch.device) -> None:
    """Put on the device early what would need memory there at the worst moment: the coefficients, 4 MiB, and the
    kernels, which CUDA loads at their first use. What lacks memory now is tried again when it is needed."""
    try:
        checksum(torch.zeros(2 * _BLOCK_WORDS * 8 + 8, dtype=torch.uint8, device=device))
    except RuntimeError as error:
        if not lacks_memory(error):
            raise


def _block_sums(data: torch.Tensor) -> list[int]:
    words = data.view(torch.int64)
    full = words.numel() // _BLOCK_WORDS
    blocks = words[: full * _BLOCK_WORDS].view(full, _BLOCK_WORDS)
    rest = words[full * _BLOCK_WORDS :]
    sums = _sums(blocks) if full else []
    if rest.numel():
        sums += _sums(rest.unsqueeze(0))
    return sums


def _sums(blocks: torch.Tensor) -> list[int]:
    if blocks.device.type != "cpu":
        return _gpu_sums(blocks, lambda words: torch.empty(words, dtype=torch.int64, device=blocks.device))
    threads = min(torch.get_num_threads(), _MAX_THREADS, blocks.shape[0] // _CPU_BLOCKS)
    if threads < 2:
        return _cpu_sums(blocks)
    shares = blocks.tensor_split(threads)
    return [value for part in in_threads(_cpu_sums, shares, threads, "dormouse-checksum") for value in part]


def _cpu_sums(blocks: torch.Tensor) -> list[int]:
    whole, upper = _coefficients(blocks.device)
    count, width = blocks.shape
    halves = torch.empty((min(_CPU_BLOCKS, count), width), dtype=torch.int64, device=blocks.device)
    sums = []
    for batch in blocks.split(_CPU_BLOCKS):  # type: ignore[no-untyped-call]
        shifted = torch.bitwise_right_shift(batch, 32, out=halves[: batch.shape[0]])
        sums.append(torch.mv(batch, whole[:width]) + torch.mv(shifted, upper[:width]))
    return [int(value) for value in torch.cat(sums).tolist()]


def _gpu_sums(blocks: torch.Tensor, scratch: _Scratch) -> list[int]:
    """With as much scratch memory as there is."""
    for words in _GPU_SCRATCH_WORDS:
        try:
            return _sums_within(blocks, scratch(min(words, blocks.numel())))
        except RuntimeError as error:
            if words == _GPU_SCRATCH_WORDS[-1] or not lacks_memory(error):
                raise
    raise AssertionError("the last size either fits or raises")


def _sums_within(blocks: torch.Tensor, scratch: torch.Tensor) -> list[int]:
    """CUDA has no `torch.mv` for integers, so the products are summed; of a block that is wider than the scratch
    memory, a part of the columns at a time, which modulo 2^64 comes to the same."""
    whole, upper = _coefficients(blocks.device)
    count, width = blocks.shape
    rows, columns = max(1, scratch.numel() // width), min(width, scratch.numel())
    # One tensor for all sums: a small one for each batch would take torch's 512 bytes, and there can be thousands.
    sums = torch.zeros(count, dtype=torch.int64, device=blocks.device)
    for row in range(0, count, rows):
        for column in range(0, width, columns):
            end = min(column + columns, width)
            part, result = blocks[row : row + rows, column:end], sums[row : row + rows]
            products = torch.bitwise_right_shift(part, 32, out=scratch[: part.numel()].view(part.shape))
            result += products.mul_(upper[column:end]).sum(dim=1)
            torch.mul(part, whole[column:end], out=products)
            result += products.sum(dim=1)
    return [int(value) for value in sums.tolist()]


def _combine(sums: list[int]) -> int:
    total, factor = 0, 1
    for value in sums:
        factor = factor * _BLOCK_FACTOR & _MASK
        total = total + (value & _MASK) * factor & _MASK
    return total


@functools.cache
def _coefficients(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For whole words and for their upper halves."""
    generator = torch.Generator().manual_seed(0x0D0_4305E)
    shape = (2, _BLOCK_WORDS)
    values = torch.randint(torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max, shape, generator=generator)
    whole, upper = (values | 1).to(device).unbind()
    return whole, upper
