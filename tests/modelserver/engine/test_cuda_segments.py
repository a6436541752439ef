"""An arena's memory goes back to the driver when it is closed: nothing else is in its segment, before or after."""

from dataclasses import dataclass

import pytest
import torch
from dormouse_modelserver.engines.torch.cuda.segments import in_own_segment, segment_bytes
from hypothesis import given
from hypothesis import strategies as st

MIB = 1 << 20
SMALL, MIN_LARGE, SMALL_SEGMENT, LARGE_SEGMENT, ROUND = MIB, 10 * MIB, 2 * MIB, 20 * MIB, 2 * MIB


def segment_of_torch(size: int) -> int:
    """`get_allocation_size` of torch's caching allocator."""
    if size <= SMALL:
        return SMALL_SEGMENT
    if size < MIN_LARGE:
        return LARGE_SEGMENT
    return -(-size // ROUND) * ROUND


@dataclass
class FakeAllocator:
    """Torch's rules for requests of more than 1 MiB: the smallest free piece that is large enough, or a new segment.

    pieces: what is free of segments in which something lives. room: what the driver still has.
    """

    pieces: list[int]
    room: int = 1000 * MIB
    reserved: int = 500 * MIB
    takes: int = 0

    @property
    def allocated(self) -> int:
        return self.reserved - sum(self.pieces)

    def take(self, size: int) -> torch.Tensor:
        self.takes += 1
        fitting = min((piece for piece in self.pieces if piece >= size), default=None)
        if fitting is not None:
            self.pieces.remove(fitting)
            self.pieces.append(fitting - size)
            return torch.empty(size, dtype=torch.uint8)
        segment = segment_of_torch(size)
        if segment > self.room:
            raise torch.OutOfMemoryError(f"Tried to allocate {segment}")
        self.room -= segment
        self.reserved += segment
        self.pieces.append(segment - size)
        return torch.empty(size, dtype=torch.uint8)

    def arena(self, nbytes: int) -> torch.Tensor:
        size = segment_bytes(nbytes)
        return in_own_segment(lambda: self.take(size), size, lambda: self.reserved, lambda: self.allocated)


@given(st.one_of(st.integers(1, 40 * MIB), st.integers(1, 200 << 30)))
def test_a_segment_is_of_one_arena_and_has_no_rest(nbytes: int) -> None:
    size = segment_bytes(nbytes)
    assert size >= nbytes
    assert size >= MIN_LARGE, "smaller requests share a segment"
    assert segment_of_torch(size) == size
    assert size - nbytes < max(MIN_LARGE, ROUND)


def test_a_model_without_weights_takes_nothing() -> None:
    assert segment_bytes(0) == 0


@pytest.mark.parametrize("nbytes", [1000, MIB, 5 * MIB, 10 * MIB, 11 * MIB + 1, 64 * MIB])
def test_it_leaves_no_rest_for_others(nbytes: int) -> None:
    allocator = FakeAllocator(pieces=[])
    arena = allocator.arena(nbytes)
    assert allocator.pieces == [0]
    assert allocator.takes == 1
    assert allocator.reserved == 500 * MIB + arena.numel()


@pytest.mark.parametrize("pieces", [[18 * MIB], [80 * MIB], [80 * MIB, 12 * MIB], [65 * MIB], []])
def test_it_is_not_cut_out_of_a_segment_in_which_something_lives(pieces: list[int]) -> None:
    for nbytes in (8 * MIB, 12 * MIB, 64 * MIB):
        allocator = FakeAllocator(pieces=list(pieces))
        arena = allocator.arena(nbytes)
        assert allocator.reserved == 500 * MIB + arena.numel(), "the last one that was taken has a segment"


def test_a_piece_is_better_than_no_room() -> None:
    allocator = FakeAllocator(pieces=[18 * MIB], room=0)
    assert allocator.arena(8 * MIB).numel() == 10 * MIB
    with pytest.raises(torch.OutOfMemoryError):
        FakeAllocator(pieces=[], room=0).arena(8 * MIB)
