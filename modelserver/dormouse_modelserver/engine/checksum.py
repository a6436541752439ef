"""A 64-bit checksum that depends on every byte and its place, taken where the bytes are.

Blocks times odd coefficients, summed modulo 2^64: an odd factor loses no bit, so any single changed word
changes the sum, and two swapped words or rows do too because their coefficients differ (a plain sum
misses them). The upper half of each word is counted once more with a coefficient of its own: of a change in
the highest bit, modulo 2^64, only the parity would be left, and two flipped signs in odd columns of float32
would cancel out (seen to happen). It guards against changes and broken copies, not against an adversary.

On a GPU it is bound by memory bandwidth. On a CPU it takes about 0.07 s per GB on two cores, where a copy of the
same bytes takes 0.05: threads of our own, because torch's split each small operation over all cores and, as soon as
more than one thread of the process computes, wait for each other at every one of them (seen: three times slower).
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_BLOCK_WORDS = 1 << 18
# Blocks at a time. On a CPU what is in work, 4 MiB, stays in the cache; on a GPU launches cost more than misses.
_CPU_BLOCKS = 2
_GPU_BLOCKS = 32
_MAX_THREADS = 8
_MASK = (1 << 64) - 1
# Odd, from the fractional part of the golden ratio (Knuth's multiplicative hashing).
_BLOCK_FACTOR = 0x9E3779B97F4A7C15

_WeightedSums = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def checksum(data: torch.Tensor) -> int:
    """Of a flat, contiguous uint8 tensor whose size is a multiple of 8 bytes."""
    words = data.view(torch.int64)
    full = words.numel() // _BLOCK_WORDS
    blocks = words[: full * _BLOCK_WORDS].view(full, _BLOCK_WORDS)
    rest = words[full * _BLOCK_WORDS :]
    sums = _sums(blocks) if full else []
    if rest.numel():
        sums += _sums(rest.unsqueeze(0))
    return _combine(sums)


def _sums(blocks: torch.Tensor) -> list[int]:
    if blocks.device.type != "cpu":
        return _batch_sums(blocks, _GPU_BLOCKS, _products_summed)
    threads = min(torch.get_num_threads(), _MAX_THREADS, blocks.shape[0] // _CPU_BLOCKS)
    if threads < 2:
        return _batch_sums(blocks, _CPU_BLOCKS, torch.mv)
    shares = blocks.tensor_split(threads)
    return [value for part in _pool().map(_cpu_sums, shares) for value in part]


def _cpu_sums(blocks: torch.Tensor) -> list[int]:
    return _batch_sums(blocks, _CPU_BLOCKS, torch.mv)


def _batch_sums(blocks: torch.Tensor, at_once: int, weighted_sums: _WeightedSums) -> list[int]:
    whole, upper = _coefficients(blocks.device)
    count, width = blocks.shape
    halves = torch.empty((min(at_once, count), width), dtype=torch.int64, device=blocks.device)
    sums = []
    for batch in blocks.split(at_once):  # type: ignore[no-untyped-call]
        shifted = torch.bitwise_right_shift(batch, 32, out=halves[: batch.shape[0]])
        sums.append(weighted_sums(batch, whole[:width]) + weighted_sums(shifted, upper[:width]))
    return [int(value) for value in torch.cat(sums).tolist()]


def _products_summed(rows: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """What `torch.mv` gives, which CUDA does not have for integers."""
    return (rows * coefficients).sum(dim=1)


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


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MAX_THREADS, "dormouse-checksum")
