"""The driver may refuse to pin host RAM: what was pinned is given back, and nobody else meets the error."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import CopyFailed
from dormouse_modelserver.engines.torch.checks.checksum import BLOCK_BYTES
from dormouse_modelserver.engines.torch.cuda import pinned as cuda_pinned
from dormouse_modelserver.engines.torch.cuda.pinned import PinnedBuffer, chunks
from dormouse_modelserver.engines.torch.layout.filling import Filling
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimHostBuffer
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.modelserver.zoo import X, seeded

from .sharing_models import Family
from .using import held, on_gpu, weights_on

CPU = torch.device("cpu")


@dataclass
class FakeCudart:
    """refuse: the registration with this number fails. last_error: as CUDA keeps it for the thread."""

    refuse: int | None = None
    refuse_unregister: bool = False
    registered: dict[int, int] = field(default_factory=dict)
    calls: int = 0
    last_error: str | None = None

    def cudaHostRegister(self, address: int, nbytes: int, flags: int) -> int:
        self.calls += 1
        if self.calls == self.refuse:
            self.last_error = "out of memory"
            return 2
        self.registered[address] = nbytes
        return 0

    def cudaHostUnregister(self, address: int) -> int:
        del self.registered[address]
        if self.refuse_unregister:
            self.last_error = "invalid argument"
        return int(self.refuse_unregister)

    def cudaGetErrorString(self, code: int) -> str:
        return str(self.last_error)

    def launch(self) -> None:
        """What torch does after each kernel: `C10_CUDA_KERNEL_LAUNCH_CHECK`."""
        error, self.last_error = self.last_error, None
        if error is not None:
            raise RuntimeError(f"CUDA error: {error}")


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch) -> FakeCudart:
    fake = FakeCudart()

    class Launching:
        def fill_(self, value: int) -> None:
            fake.launch()

    monkeypatch.setattr(torch.cuda, "cudart", lambda: fake)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: Launching())
    monkeypatch.setattr(cuda_pinned, "REGISTER_BYTES", 1 << 20)
    return fake


def test_exact_bytes_are_pinned_piece_by_piece_and_given_back(cudart: FakeCudart) -> None:
    buffer = PinnedBuffer((3 << 20) - 5, CPU)
    assert sorted(cudart.registered.values()) == [(1 << 20) - 5, 1 << 20, 1 << 20]
    buffer.close()
    buffer.close()
    assert (cudart.registered, cudart.last_error) == ({}, None)


@pytest.mark.parametrize("nth", [1, 3])
def test_a_refusal_is_not_left_for_the_next_kernel_of_the_thread(cudart: FakeCudart, nth: int) -> None:
    cudart.refuse = nth
    with pytest.raises(CopyFailed, match="refused to pin 3145728 bytes"):
        PinnedBuffer(3 << 20, CPU)
    assert cudart.registered == {}
    cudart.launch()


def test_nor_is_one_at_giving_it_back(cudart: FakeCudart) -> None:
    buffer = PinnedBuffer(1 << 20, CPU)
    cudart.refuse_unregister = True
    buffer.close()
    cudart.launch()


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 3))
def test_no_chunk_is_in_two_registrations_wherever_the_copy_begins(nbytes: int, offset: int, pieces: int) -> None:
    chunk, registered = 64, 64 * pieces
    found = list(chunks(nbytes, offset, chunk))
    assert [byte for start, end in found for byte in range(start, end)] == list(range(nbytes))
    assert all((offset + start) // registered == (offset + end - 1) // registered for start, end in found)
    assert len(found) <= nbytes // chunk + 2


def test_what_was_replaced_is_copied_within_the_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the device straight into a mirror, for tensors that are in no arena."""
    copies: list[tuple[int, int]] = []
    fill = Filling.fill
    monkeypatch.setattr(Filling.stretches, "__defaults__", (BLOCK_BYTES,))

    def seen(self: Filling, start: int, end: int, target: torch.Tensor) -> list[int]:
        copies.append((start, end))
        return fill(self, start, end, target)

    weights = on_gpu(weights_on(SimDevice("sim", 64 << 20), seeded(lambda: nn.Linear(8, 1 << 18))))
    with held(weights) as model:
        model.weight = nn.Parameter(model.weight.detach() + 1)
        right = model(X)
    monkeypatch.setattr(Filling, "fill", seen)
    weights.offload()
    assert len(copies) == 3
    assert all(start % BLOCK_BYTES == 0 and end - start <= BLOCK_BYTES for start, end in copies)
    weights.restore()
    with held(weights) as model:
        assert torch.equal(model(X), right)


def test_a_split_that_can_not_be_pinned_leaves_it_whole_and_no_move_fails_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class NoPinning(SimDevice):
        refuses = False

        def host_buffer(self, nbytes: int, *, pinned: bool = True) -> SimHostBuffer:
            if self.refuses:
                raise CopyFailed("the CUDA driver refused to pin")
            return super().host_buffer(nbytes, pinned=pinned)

    device: Any = NoPinning("sim", 64 << 20)
    family = Family(device)
    family.a.wake()
    family.b.wake()
    family.b.offload()
    device.refuses = True
    released = family.a.offload()
    assert (family.a.residency, device.memory().used, released.residual) == (Residency.CPU, 0, 0)
    assert len(family.b._loaded.bundles) == 2, "not split yet"  # type: ignore[union-attr]
    assert "given back" not in caplog.text
    assert family.right(on_gpu(family.b), "b")
    family.b.offload()
    device.refuses = False
    for weights, name in ((family.b, "b"), (family.a, "a")):
        assert family.right(on_gpu(weights), name)
        weights.offload()
