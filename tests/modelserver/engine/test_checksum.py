"""The checksum finds every change that a model's weights can have, and nothing else."""

import pytest
import torch
from dormouse_modelserver.engines.torch.checks import checksum as module
from dormouse_modelserver.engines.torch.checks.checksum import checksum

WORDS_PER_BLOCK = module._BLOCK_WORDS


def sum_of(tensor: torch.Tensor) -> int:
    return checksum(tensor.contiguous().view(-1).view(torch.uint8))


def words(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_two_negated_values_in_any_columns_are_found(dtype: torch.dtype) -> None:
    """In the last lane of a word a sign is bit 63: times any odd coefficient only its parity is left."""
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    before = sum_of(weight)
    for column in range(8):
        for rows in ((0, 1), (2, 5), (0, 1, 2, 3)):
            changed = weight.clone()
            changed[list(rows), column] *= -1
            assert sum_of(changed) != before, (column, rows)


@pytest.mark.parametrize("scale", [2.0, 0.5, 4.0, -2.0])
def test_columns_scaled_by_a_power_of_two_are_found(scale: float) -> None:
    weight = torch.randn(1024, 64, generator=torch.Generator().manual_seed(2))
    before = sum_of(weight)
    seen = set()
    for column in range(64):
        changed = weight.clone()
        changed[:, column] *= scale
        seen.add(sum_of(changed))
    assert before not in seen
    assert len(seen) == 64


def test_each_single_flipped_bit_is_found_and_distinct() -> None:
    data = words(9)
    sums = {sum_of(data)}
    for word in range(9):
        for bit in range(64):
            flipped = data.clone()
            flipped[word] ^= -(2**63) if bit == 63 else 1 << bit
            sums.add(sum_of(flipped))
    assert len(sums) == 1 + 9 * 64


@pytest.mark.parametrize(
    ("one", "other"),
    [(0, 1), (5, WORDS_PER_BLOCK - 1), (7, WORDS_PER_BLOCK + 7), (7, 2 * WORDS_PER_BLOCK + 7)],
    ids=["neighbours", "within a block", "same place of the next block", "two blocks on"],
)
def test_swapped_words_are_found(one: int, other: int) -> None:
    data = words(2 * WORDS_PER_BLOCK + 100)
    before = sum_of(data)
    data[[one, other]] = data[[other, one]]
    assert sum_of(data) != before


def test_swapped_rows_and_blocks_are_found() -> None:
    table = torch.randn(50, 384)
    before = sum_of(table)
    assert sum_of(table[torch.tensor([1, 0, *range(2, 50)])]) != before
    blocks = words(2 * WORDS_PER_BLOCK)
    assert sum_of(blocks.roll(WORDS_PER_BLOCK)) != sum_of(blocks)


@pytest.mark.parametrize("blocks", [1, 2, 32, 33])
@pytest.mark.parametrize("width", [1, 1000, 4096])
def test_the_variant_for_a_gpu_gives_the_same_sums_as_the_one_for_a_cpu(blocks: int, width: int) -> None:
    data = words(blocks * width, seed=blocks).view(blocks, width)
    on_gpu = module._gpu_sums(data, scratch_of)
    assert module._sums(data) == module._cpu_sums(data) == on_gpu
    assert len(on_gpu) == blocks


def scratch_of(count: int) -> torch.Tensor:
    return torch.empty(count, dtype=torch.int64)


@pytest.mark.parametrize("room_mib", [64, 63, 31, 15, 1])
def test_a_gpu_with_less_and_less_memory_left_gives_the_same_sum(room_mib: int) -> None:
    data = words(33 * WORDS_PER_BLOCK).view(33, WORDS_PER_BLOCK)
    asked = []

    def scratch(count: int) -> torch.Tensor:
        asked.append(count * 8 >> 20)
        if asked[-1] > room_mib:
            raise torch.OutOfMemoryError(f"Tried to allocate {asked[-1]} MiB")
        return scratch_of(count)

    assert module._gpu_sums(data, scratch) == module._cpu_sums(data)
    assert asked == [mib for mib in (64, 32, 16, 1) if mib > room_mib] + [
        max(m for m in (64, 32, 16, 1) if m <= room_mib)
    ]


def test_a_block_is_summed_in_parts_when_there_is_no_room_for_all_of_it() -> None:
    for width in (WORDS_PER_BLOCK, WORDS_PER_BLOCK - 77, 1000, 999, 1):
        data = words(3 * width).view(3, width)
        assert module._sums_within(data, scratch_of(1000)) == module._cpu_sums(data)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory"), 4, id="torch has no memory"),
        pytest.param(RuntimeError("CUDA error: out of memory"), 4, id="the driver has none"),
        pytest.param(RuntimeError("CUDA error: an illegal memory access was encountered"), 1, id="another error"),
    ],
)
def test_only_a_lack_of_memory_is_tried_again_with_less(error: RuntimeError, tries: int) -> None:
    asked = []

    def scratch(count: int) -> torch.Tensor:
        asked.append(count)
        raise error

    with pytest.raises(RuntimeError) as raised:
        module._gpu_sums(words(33 * WORDS_PER_BLOCK).view(33, -1), scratch)
    assert raised.value is error
    assert len(asked) == tries


@pytest.mark.parametrize("count", [0, 1, 9 * WORDS_PER_BLOCK + 77, 16 * WORDS_PER_BLOCK])
def test_the_sum_in_host_ram_is_the_same(count: int) -> None:
    data = words(count).view(torch.uint8)
    assert module.checksum_in_host_ram(data) == checksum(data)


def test_threads_do_not_change_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    data = words(9 * WORDS_PER_BLOCK + 77)
    sums = set()
    for threads in (1, 2, 3, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        sums.add(sum_of(data))
    assert len(sums) == 1


def test_it_depends_on_the_bytes_alone() -> None:
    data = words(1000)
    assert sum_of(data) == sum_of(data.clone())
    with torch.inference_mode():
        assert sum_of(data) == sum_of(data.clone())
    assert sum_of(torch.empty(0, dtype=torch.int64)) == 0
