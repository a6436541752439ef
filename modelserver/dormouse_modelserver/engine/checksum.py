"""A 64-bit checksum that depends on every byte and its place, taken where the bytes are.

Blocks times odd coefficients, summed modulo 2^64: an odd factor loses no bit, so any single changed word
changes the sum, and two swapped words or rows do too because their coefficients differ (a plain sum
misses them). It guards against changes and broken copies, not against an adversary. About 0.1 s per GB on
one core; on a GPU it is bound by memory bandwidth.
"""

import functools

import torch

# 2 MiB of coefficients: with the product it stays in a CPU's cache (measured: 0.10 s/GB, 0.30 at 64 KiB).
_BLOCK_WORDS = 1 << 18
# On a GPU launches cost more than cache misses: 64 MiB at a time.
_GPU_BLOCKS = 32
_MASK = (1 << 64) - 1
# Odd, from the fractional part of the golden ratio (Knuth's multiplicative hashing).
_BLOCK_FACTOR = 0x9E3779B97F4A7C15


def checksum(data: torch.Tensor) -> int:
    """Of a flat, contiguous uint8 tensor whose size is a multiple of 8 bytes."""
    words = data.view(torch.int64)
    on_cpu = data.device.type == "cpu"
    return _combine(_sums_by_block(words) if on_cpu else _sums_by_row(words))


def _sums_by_block(words: torch.Tensor) -> list[int]:
    coefficients = _coefficients(words.device)
    product = torch.empty_like(coefficients)
    sums = []
    for start in range(0, words.numel(), _BLOCK_WORDS):
        block = words[start : start + _BLOCK_WORDS]
        size = block.numel()
        torch.mul(block, coefficients[:size], out=product[:size])
        sums.append(product[:size].sum())
    return [int(value) for value in torch.stack(sums).tolist()] if sums else []


def _sums_by_row(words: torch.Tensor) -> list[int]:
    """The same sums with many blocks per launch."""
    coefficients = _coefficients(words.device)
    whole = words.numel() // _BLOCK_WORDS
    blocks = words[: whole * _BLOCK_WORDS].view(whole, _BLOCK_WORDS)
    starts = range(0, whole, _GPU_BLOCKS)
    parts = [(blocks[start : start + _GPU_BLOCKS] * coefficients).sum(dim=1) for start in starts]
    rest = words[whole * _BLOCK_WORDS :]
    if rest.numel():
        parts.append((rest * coefficients[: rest.numel()]).sum().reshape(1))
    return [int(value) for value in torch.cat(parts).tolist()] if parts else []


def _combine(sums: list[int]) -> int:
    total, factor = 0, 1
    for value in sums:
        factor = factor * _BLOCK_FACTOR & _MASK
        total = total + (value & _MASK) * factor & _MASK
    return total


@functools.cache
def _coefficients(device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0x0D0_4305E)
    values = torch.randint(-(2**62), 2**62, (_BLOCK_WORDS,), dtype=torch.int64, generator=generator)
    return (values | 1).to(device)
