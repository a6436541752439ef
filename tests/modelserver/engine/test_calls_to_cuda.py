"""What the CUDA device asks of torch, with torch's answers faked: nobody needs a GPU to see the order of the calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from dormouse_modelserver.engines.torch.cuda import device as cuda
from dormouse_modelserver.engines.torch.cuda.device import CudaArena, CudaDevice, CudaFence
from dormouse_modelserver.engines.torch.cuda.health import CudaHealth

SECOND = torch.device("cuda", 1)
_REFUSED = RuntimeError("CUDA error: operation not permitted when stream is capturing")


class FakeStream:
    def __init__(self) -> None:
        self.waited = 0

    def synchronize(self) -> None:
        self.waited += 1

    def wait_stream(self, other: "FakeStream") -> None: ...


class FakeEvent:
    """A fresh one says that it is done, as torch's does before it is recorded."""

    finished = True
    refuses_record = refuses_query = False
    waited = 0

    def record(self, stream: FakeStream) -> None:
        if self.refuses_record:
            raise _REFUSED
        self.finished = False

    def query(self) -> bool:
        if self.refuses_query:
            raise _REFUSED
        return self.finished

    def synchronize(self) -> None:
        self.waited += 1


@pytest.fixture
def event(monkeypatch: pytest.MonkeyPatch) -> FakeEvent:
    event = FakeEvent()
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))  # the device itself works
    return event


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    stream = FakeStream()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    return stream


def test_a_fence_is_done_when_its_event_is(event: FakeEvent, stream: FakeStream) -> None:
    fence = CudaFence(SECOND, CudaHealth("cuda:1", SECOND))
    assert not fence.done()
    event.finished = True
    assert fence.done()
    fence.wait()
    assert (event.waited, stream.waited) == (1, 0)


def test_a_fence_that_can_not_be_asked_is_kept(event: FakeEvent, stream: FakeStream) -> None:
    fence = CudaFence(SECOND, CudaHealth("cuda:1", SECOND))
    event.refuses_query = True
    assert not fence.done(), "its work may still run"
    event.refuses_query, event.finished = False, True
    assert fence.done()


def test_a_fence_that_was_not_set_waits_for_the_whole_stream(event: FakeEvent, stream: FakeStream) -> None:
    event.refuses_record = True
    fence = CudaFence(SECOND, CudaHealth("cuda:1", SECOND))
    assert not fence.done()
    fence.wait()
    assert (event.waited, stream.waited) == (0, 1)


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch, stream: FakeStream) -> list[torch.device]:
    """The devices that are current, innermost last."""
    entered: list[torch.device] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        entered.append(device)
        try:
            yield
        finally:
            entered.pop()

    @contextmanager
    def on_stream(of: Any) -> Iterator[None]:
        assert entered == [SECOND], "the first GPU would get a context"
        yield

    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(torch.cuda, "stream", on_stream)
    return entered


def test_a_copy_is_made_with_its_device_current(entered: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    device = object.__new__(CudaDevice)  # there is no GPU to open
    device.torch_device, device.name, device._stream = SECOND, "cuda:1", FakeStream()
    device.health = CudaHealth(device.name, SECOND)
    arena, source = CudaArena(torch.zeros(1000, dtype=torch.uint8)), torch.arange(200, dtype=torch.uint8)
    device.copy_in(source, arena, at=100)
    assert torch.equal(arena.bytes[100:300], source)
    device.copy_in(source[30:], arena, at=7)
    assert torch.equal(arena.bytes[7:177], source[30:])
    back = torch.zeros(1000, dtype=torch.uint8)
    device.copy_out(arena, back)
    assert torch.equal(back, arena.bytes)
    assert device._stream.waited == 3
    assert entered == []
