"""The checksum finds every change that a model's weights can have, and nothing else."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from dormouse_modelserver.engines.torch.checks import checksum as module
from dormouse_modelserver.engines.torch.checks import rows
from dormouse_modelserver.engines.torch.checks.checksum import BLOCK_BYTES, checksum, combined, sums_while_filling
from dormouse_modelserver.engines.torch.checks.rows import LANES, PIECE_BYTES, ROW_BYTES
from hypothesis import example, given, settings
from hypothesis import strategies as st

ROW_WORDS, PIECE_WORDS, BLOCK_WORDS = ROW_BYTES // 8, PIECE_BYTES // 8, BLOCK_BYTES // 8
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
SMALLEST_SCRATCH = module._GPU_SCRATCH_BYTES[-1]

# Less than a row, rows with a rest, a piece, a block, and what lies about their ends.
lengths = st.one_of(
    st.integers(2, 40),
    st.builds(
        lambda unit, count, more: max(2, unit * count + more),
        st.sampled_from([ROW_WORDS, PIECE_WORDS]),
        st.integers(1, 3),
        st.integers(-3, 3),
    ),
    st.integers(BLOCK_WORDS - 2, BLOCK_WORDS + 2),
)
seeds = st.integers(0, 2**32)


def sum_of(tensor: torch.Tensor) -> int:
    return checksum(tensor.contiguous().view(-1).view(torch.uint8))


def words(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(seed))


def scratch_of(nbytes: int) -> torch.Tensor:
    return torch.empty(nbytes, dtype=torch.uint8)


def a_place(data: st.DataObject, count: int) -> int:
    """Any, and more often one at an edge."""
    edges = (0, 1, ROW_WORDS - 1, ROW_WORDS, PIECE_WORDS - 1, PIECE_WORDS, BLOCK_WORDS - 1, BLOCK_WORDS, count - 1)
    at_edges = st.sampled_from([place for place in edges if place < count])
    return data.draw(st.one_of(at_edges, st.integers(0, count - 1)))


# What it is sensitive to -------------------------------------------------------------------------


@settings(max_examples=80)
@given(data=st.data(), count=lengths, seed=seeds, bit=st.integers(0, 63), zeros=st.booleans())
def test_a_single_flipped_bit_is_found_wherever_it_is(
    data: st.DataObject, count: int, seed: int, bit: int, zeros: bool
) -> None:
    whole = torch.zeros(count, dtype=torch.int64) if zeros else words(count, seed)
    before, place = sum_of(whole), a_place(data, count)
    whole[place] ^= -(2**63) if bit == 63 else 1 << bit
    assert sum_of(whole) != before


def test_each_single_flipped_bit_gives_another_sum() -> None:
    data = words(9)
    sums = {sum_of(data)}
    for word in range(9):
        for bit in range(64):
            flipped = data.clone()
            flipped[word] ^= -(2**63) if bit == 63 else 1 << bit
            sums.add(sum_of(flipped))
    assert len(sums) == 1 + 9 * 64


@settings(max_examples=150)
@given(data=st.data(), count=lengths, seed=seeds, bit=st.integers(0, 63), other=st.integers(0, 63))
def test_two_flipped_bits_are_found(data: st.DataObject, count: int, seed: int, bit: int, other: int) -> None:
    """The highest ones above all: times any odd factor only their parity is left."""
    whole = words(count, seed)
    before, places = sum_of(whole), {(a_place(data, count), bit), (a_place(data, count), other)}
    for place, flipped in places:
        whole[place] ^= -(2**63) if flipped == 63 else 1 << flipped
    assert sum_of(whole) != before


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1,), (2,), (6, 8), (64, 64), (333, 40), (1024, 1024)], ids=str)
@pytest.mark.parametrize("kind", ["random", "ones", "alternating"])
def test_negated_weights_are_found(dtype: torch.dtype, shape: tuple[int, ...], kind: str) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if kind != "random":
        weight = torch.ones(shape)
        weight.view(-1)[1::2] = 1 if kind == "ones" else -1
    weight = torch.nn.functional.pad(weight.view(-1).to(dtype), (0, -weight.numel() % 4))
    assert sum_of(weight.neg()) != sum_of(weight)


@pytest.mark.parametrize("dtype", FLOATS)
def test_two_negated_values_in_any_columns_are_found(dtype: torch.dtype) -> None:
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    before = sum_of(weight)
    for column in range(8):
        for chosen in ((0, 1), (2, 5), (0, 1, 2, 3)):
            changed = weight.clone()
            changed[list(chosen), column] *= -1
            assert sum_of(changed) != before, (column, chosen)


def test_any_even_number_of_negated_rows_or_columns_is_found() -> None:
    ones = torch.ones(512, 256)
    before = sum_of(ones)
    for count in (2, 4, 6, 8, 16, 64, 100, 256):
        for first in (0, 1, 7):
            by_row, by_column = ones.clone(), ones.clone()
            by_row[first : first + count] *= -1
            by_column[:, first : first + count] *= -1
            assert before not in {sum_of(by_row), sum_of(by_column)}, (count, first)


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


@settings(max_examples=80)
@given(data=st.data(), count=lengths, seed=seeds)
def test_swapped_words_are_found(data: st.DataObject, count: int, seed: int) -> None:
    whole = words(count, seed)
    before, one, other = sum_of(whole), a_place(data, count), a_place(data, count)
    different = whole[one] != whole[other]
    whole[[one, other]] = whole[[other, one]]
    assert (sum_of(whole) != before) == different


@settings(max_examples=100)
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_two_swapped_values_that_differ_in_their_sign_alone_are_found(data: st.DataObject, dtype: torch.dtype) -> None:
    whole = torch.ones(4 * LANES, dtype=dtype)
    one, other = data.draw(st.lists(st.integers(0, 4 * LANES - 1), min_size=2, max_size=2, unique=True))
    whole[one] = -1
    before = sum_of(whole)
    whole[one], whole[other] = 1, -1
    assert sum_of(whole) != before


@settings(max_examples=80)
@given(data=st.data(), count=lengths, seed=seeds, shift=st.integers(0, 62))
def test_what_is_added_here_and_taken_away_there_is_found(
    data: st.DataObject, count: int, seed: int, shift: int
) -> None:
    whole = words(count, seed)
    before = sum_of(whole)
    places = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
    whole[places[0]] += 1 << shift
    whole[places[1]] -= 1 << shift
    assert sum_of(whole) != before


@settings(max_examples=80)
@given(data=st.data(), width=st.sampled_from([4, 64, 512, ROW_WORDS, 1024, 4096]), bit=st.integers(0, 63))
def test_the_corners_of_a_rectangle_are_found(data: st.DataObject, width: int, bit: int) -> None:
    """+x, -x, -x, +x: no row's nor column's plain sum changes."""
    table = words(40 * width).view(40, width)
    before = sum_of(table)
    top, bottom = data.draw(st.lists(st.integers(0, 39), min_size=2, max_size=2, unique=True))
    left, right = data.draw(st.lists(st.integers(0, width - 1), min_size=2, max_size=2, unique=True))
    for row, column, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        table[row, column] += -(2**63) if bit == 63 else sign << bit
    assert sum_of(table) != before


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(50, 384), (1024, 1024), (300, 4096), (3, 512 * 1024)], ids=str)
def test_what_keeps_every_value_and_moves_it_is_found(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    table = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    count, width = shape
    swapped_rows = torch.tensor([1, 0, *range(2, count)])
    swapped_columns = torch.arange(width)
    swapped_columns[[0, width - 1]] = swapped_columns[[width - 1, 0]]
    moved = {
        "two rows swapped": table[swapped_rows],
        "rows the other way round": table.flip(0),
        "columns the other way round": table.flip(1),
        "two columns swapped": table[:, swapped_columns],
        "columns permuted": table[:, torch.randperm(width, generator=torch.Generator().manual_seed(4))],
        "transposed": table.t(),
        "rows rotated": table.roll(1, dims=0),
        "columns rotated": table.roll(1, dims=1),
        "rotated by a value": table.view(-1).roll(1),
        "rotated by a row of the sum": table.view(-1).roll(ROW_BYTES // table.element_size()),
        "halves swapped": table.view(2, -1).flip(0) if table.numel() % 2 == 0 else table.roll(2),
        "the first row twice": torch.cat((table[:1], table[:-1])),
    }
    sums = {what: sum_of(changed) for what, changed in moved.items()}
    assert sum_of(table) not in sums.values(), sums


@settings(max_examples=30)
@given(data=st.data(), size=st.sampled_from([ROW_WORDS, PIECE_WORDS, BLOCK_WORDS]), seed=seeds)
def test_moved_rows_pieces_and_blocks_are_found(data: st.DataObject, size: int, seed: int) -> None:
    units = words(3 * size, seed).view(3, size)
    order = data.draw(st.permutations(range(3)))
    assert (sum_of(units[list(order)]) == sum_of(units)) == (order == [0, 1, 2])
    doubled = torch.stack((units[0], units[0], units[2]))
    assert sum_of(doubled) != sum_of(units)
    assert sum_of(doubled) != sum_of(torch.stack((units[0], units[2], units[2])))


@pytest.mark.parametrize("zeros", [1, ROW_WORDS, PIECE_WORDS, BLOCK_WORDS])
def test_zeros_that_were_moved_or_left_out_are_found(zeros: int) -> None:
    data, nothing = words(PIECE_WORDS + 5), torch.zeros(zeros, dtype=torch.int64)
    sums = {sum_of(torch.cat(parts)) for parts in ((data, nothing), (nothing, data), (data[:7], nothing, data[7:]))}
    assert len(sums) == 3
    assert sum_of(data * 0) != sum_of(data)


def test_no_two_factors_of_a_row_can_cancel_out() -> None:
    """What is found for certain rests on it: see `_factors`."""
    for factors in rows._factors(torch.device("cpu")).to(torch.int64):
        kept = {int(value) % 2**17 for value in factors} | {-int(value) % 2**17 for value in factors}
        assert len(kept) == 2 * LANES
        assert all(value % 2 for value in kept)


# One sum, however it is taken --------------------------------------------------------------------


def ways_to_sum(data: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    for nbytes in module._GPU_SCRATCH_BYTES:
        yield f"as on a GPU, {nbytes >> 20} MiB", combined(module._sums_within(data, scratch_of(nbytes)))
    yield "in host RAM", module.checksum_in_host_ram(data)
    for threads in (1, 2, 3, 4, 50):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        yield f"{threads} threads", checksum(data)
    monkeypatch.undo()
    target = torch.empty_like(data)

    def fill(start: int, end: int) -> None:
        target[start:end] = data[start:end]

    yield "while it is filled", combined(sums_while_filling(target, fill))
    assert torch.equal(target, data)


@pytest.mark.parametrize(
    "count",
    [
        1,
        ROW_WORDS - 1,
        ROW_WORDS,
        PIECE_WORDS - ROW_WORDS,
        PIECE_WORDS,
        PIECE_WORDS + 1,
        BLOCK_WORDS - 1,
        BLOCK_WORDS + PIECE_WORDS + ROW_WORDS + 1,
        5 * BLOCK_WORDS,
        17 * BLOCK_WORDS + 77,
    ],
)
def test_it_is_one_sum_on_cpu_and_gpu_with_any_scratch_memory_and_any_threads(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    data = words(count, seed=count).view(torch.uint8)
    sums = dict(ways_to_sum(data, monkeypatch))
    assert set(sums.values()) == {checksum(data)}, sums


@settings(max_examples=50)
@given(count=lengths, seed=seeds, scratch=st.sampled_from([1, 2, 3, 7]))
@example(count=2, seed=0, scratch=1)
def test_the_variant_for_a_gpu_gives_the_sum_of_the_one_for_a_cpu(count: int, seed: int, scratch: int) -> None:
    data = words(count, seed).view(torch.uint8)
    assert combined(module._sums_within(data, scratch_of(scratch * PIECE_BYTES))) == checksum(data)


def plain_row(row: list[int], following: int) -> tuple[int, int]:
    """By the definition, in Python's own integers. following: the two bytes after the row."""
    own, moved = rows._factors(torch.device("cpu")).tolist()
    whole = sum(lane << 32 * n for n, lane in enumerate(row)) >> 16 | following << 32 * LANES - 16
    shifted = [whole >> 32 * n & 0xFFFFFFFF for n in range(LANES)]
    return (
        sum(map(int.__mul__, own, row)) & 0xFFFFFFFF,
        sum(map(int.__mul__, moved, shifted)) & 0xFFFFFFFF,
    )


def test_a_row_is_summed_as_it_is_defined() -> None:
    data = words(2 * ROW_WORDS, seed=6).view(torch.uint8)
    out = torch.zeros(2, 2, dtype=torch.int32)
    rows.sum_rows(data, out)
    lanes = [lane & 0xFFFFFFFF for lane in data.view(torch.int32).tolist()]
    expected = [plain_row(lanes[:LANES], lanes[LANES] & 0xFFFF), plain_row(lanes[LANES:], 0)]
    assert [tuple(int(half) & 0xFFFFFFFF for half in row) for row in out.t()] == expected


@settings(max_examples=30)
@given(data=st.data(), seed=seeds)
def test_stretches_of_whole_blocks_come_to_the_sum_of_all(data: st.DataObject, seed: int) -> None:
    whole = words(3 * BLOCK_WORDS + 77, seed).view(torch.uint8)
    cuts = sorted(data.draw(st.sets(st.integers(1, 3), max_size=3)))
    bounds = [0, *(cut * BLOCK_BYTES for cut in cuts), whole.numel()]
    sums = [value for start, end in itertools.pairwise(bounds) for value in module._block_sums(whole[start:end])]
    assert combined(sums) == checksum(whole)


def test_each_piece_is_filled_once_and_summed_as_it_arrived() -> None:
    data = words(5 * BLOCK_WORDS + 77).view(torch.uint8)
    target, asked = torch.empty_like(data), list[tuple[int, int]]()

    def fill(start: int, end: int) -> None:
        asked.append((start, end))
        target[start:end] = data[start:end]
        target[start] ^= start == PIECE_BYTES  # one byte arrives wrong

    sums = sums_while_filling(target, fill)
    assert sorted(asked) == [
        (start, min(start + PIECE_BYTES, data.numel())) for start in range(0, data.numel(), PIECE_BYTES)
    ]
    assert combined(sums) == checksum(target) != checksum(data)


def test_what_filling_raises_is_raised_when_all_of_it_has_ended() -> None:
    target, running = torch.empty(8 * BLOCK_BYTES, dtype=torch.uint8), set[tuple[int, int]]()

    def fill(start: int, end: int) -> None:
        running.add((start, end))
        try:
            if start == PIECE_BYTES:
                raise OSError("the disk is gone")
            target[start:end] = 1
        finally:
            running.remove((start, end))

    with pytest.raises(OSError, match="the disk is gone"):
        sums_while_filling(target, fill)
    assert not running


def test_forked_children_can_sum_too() -> None:
    """They have the pools of their parent, and none of its threads. Many: what the threads race for is seldom lost."""
    data = words(9 * BLOCK_WORDS).view(torch.uint8)
    before = combined(module._cpu_sums(data, 2))
    # In a child, the first thread to ask makes the pool that belongs to this anew, and the second may see none.
    torch.set_num_threads(torch.get_num_threads())
    for _ in range(100):
        child = os.fork()
        if not child:  # no test framework, no exit handlers: this process is only asked for one sum
            signal.alarm(20)
            status = 1
            try:
                status = 0 if combined(module._cpu_sums(data, 2)) == before else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


def test_it_depends_on_the_bytes_alone() -> None:
    data = words(1000)
    assert sum_of(data) == sum_of(data.clone())
    with torch.inference_mode():
        assert sum_of(data) == sum_of(data.clone())
        many = words(5 * BLOCK_WORDS)
        assert sum_of(many) == sum_of(many.clone())
    assert sum_of(many) == sum_of(words(5 * BLOCK_WORDS))
    assert sum_of(torch.empty(0, dtype=torch.int64)) == 0


def test_a_default_device_of_the_app_changes_nothing() -> None:
    data = words(1000)
    before = sum_of(data)
    for cached in (rows._factors, rows._columns, module._factors):
        cached.cache_clear()
    with torch.device("meta"):
        assert sum_of(data) == before


# A device without memory for it ------------------------------------------------------------------


@pytest.mark.parametrize("room_mib", [64, 63, 31, 15, 1])
def test_a_gpu_with_less_and_less_memory_left_gives_the_same_sum(room_mib: int) -> None:
    data = words(17 * BLOCK_WORDS).view(torch.uint8)
    asked = []

    def scratch(nbytes: int) -> torch.Tensor:
        asked.append(nbytes >> 20)
        if asked[-1] > room_mib:
            raise torch.OutOfMemoryError(f"Tried to allocate {asked[-1]} MiB")
        return scratch_of(nbytes)

    assert combined(module._gpu_sums(data, scratch)) == checksum(data)
    assert asked == [mib for mib in (64, 32, 16, 1) if mib > room_mib] + [
        max(m for m in (64, 32, 16, 1) if m <= room_mib)
    ]


@pytest.mark.parametrize("count", [1, ROW_WORDS + 1, PIECE_WORDS + 1])
def test_no_more_scratch_memory_is_asked_for_than_there_are_bytes(count: int) -> None:
    asked = []

    def scratch(nbytes: int) -> torch.Tensor:
        asked.append(nbytes)
        return scratch_of(nbytes)

    module._gpu_sums(words(count).view(torch.uint8), scratch)
    assert asked == [-(-count // ROW_WORDS) * ROW_BYTES]


def test_what_is_made_on_a_device_beside_the_scratch_is_less_than_a_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    """For so little torch takes 2 MiB from the driver once; see `CHECKSUM_NEEDS_BYTES`."""
    made: list[int] = []

    def counting(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def counted(*args: object, **options: object) -> torch.Tensor:
            tensor = make(*args, **options)
            made.append(tensor.numel() * tensor.element_size())
            return tensor

        return counted

    data, scratch = words(17 * BLOCK_WORDS + 77).view(torch.uint8), scratch_of(SMALLEST_SCRATCH)
    monkeypatch.setattr(torch, "zeros", counting(torch.zeros))
    monkeypatch.setattr(torch, "empty", counting(torch.empty))
    module._sums_within(data, scratch)
    assert made
    assert max(made) <= PIECE_BYTES


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

    def scratch(nbytes: int) -> torch.Tensor:
        asked.append(nbytes)
        raise error

    with pytest.raises(RuntimeError) as raised:
        module._gpu_sums(words(17 * BLOCK_WORDS).view(torch.uint8), scratch)
    assert raised.value is error
    assert len(asked) == tries
