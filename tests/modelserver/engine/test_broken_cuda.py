"""A CUDA error that sticks is told from one that passes, and afterwards nobody asks the driver again."""

import logging
from collections.abc import Callable

import pytest
import torch
from dormouse_modelserver import CopyFailed, DeviceBroken, DeviceFull
from dormouse_modelserver.engines.torch.cuda.device import CudaDevice
from dormouse_modelserver.lifecycle.device import DeviceMemory

from .fake_torch_cuda import STUCK, FakeTorchCuda

Call = Callable[[CudaDevice], object]


class Bytes:
    """An arena in host RAM: the copies fail before they come to it."""

    bytes = torch.zeros(8, dtype=torch.uint8)

    def close(self) -> None: ...


CALLS = [
    pytest.param(lambda device: device.synchronize(), id="synchronize"),
    pytest.param(lambda device: device.memory(), id="memory"),
    pytest.param(lambda device: device.held_bytes(), id="held bytes"),
    pytest.param(lambda device: device.allocate(8), id="allocate"),
    pytest.param(lambda device: device.copy_in(Bytes.bytes, Bytes()), id="copy in"),
    pytest.param(lambda device: device.copy_out(Bytes(), Bytes.bytes), id="copy out"),
]
QUIET = [
    pytest.param(lambda device: device.fence(), id="a use ends"),
    pytest.param(lambda device: device.examine(), id="asked"),
]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeTorchCuda:
    cuda = FakeTorchCuda()
    cuda.install(monkeypatch)
    return cuda


@pytest.fixture
def device(cuda: FakeTorchCuda) -> CudaDevice:
    return CudaDevice("cuda:0")


@pytest.mark.parametrize("call", CALLS)
def test_an_error_that_sticks_breaks_the_device(device: CudaDevice, cuda: FakeTorchCuda, call: Call) -> None:
    assert device.broken is None
    cuda.sticks = STUCK
    with pytest.raises(DeviceBroken) as broken:
        call(device)
    assert device.broken == STUCK, "the first sentence, without the advice for debugging"
    assert str(broken.value) == (
        f"cuda:0 failed and does nothing more in this process ({STUCK}). "
        "The weights in host RAM and on disk are unharmed. Restart the process"
    )
    assert not broken.value.retryable


@pytest.mark.parametrize("call", QUIET)
def test_a_use_that_ends_finds_it_and_goes_on(device: CudaDevice, cuda: FakeTorchCuda, call: Call) -> None:
    cuda.sticks = STUCK
    call(device)
    assert device.broken == STUCK


@pytest.mark.parametrize("when", ["done", "wait"])
def test_a_fence_that_was_set_before_finds_it(device: CudaDevice, cuda: FakeTorchCuda, when: str) -> None:
    fence = device.fence()
    assert not fence.done()
    cuda.sticks = STUCK
    assert getattr(fence, when)() in (True, None)
    assert device.broken == STUCK


@pytest.mark.parametrize("call", [*CALLS, *QUIET])
def test_a_broken_device_is_not_asked_again(device: CudaDevice, cuda: FakeTorchCuda, call: Call) -> None:
    fence = device.fence()
    cuda.sticks = STUCK
    device.examine()
    cuda.calls.clear()
    try:
        call(device)
    except DeviceBroken:
        assert call not in QUIET
    fence.wait()
    assert fence.done()
    assert not cuda.calls


@pytest.mark.parametrize("failing", ["synchronize", "mem_get_info", "stream", "record", "event", "query"])
def test_an_error_of_one_call_does_not_break_it(device: CudaDevice, cuda: FakeTorchCuda, failing: str) -> None:
    cuda.fails[failing] = RuntimeError("CUDA error: invalid argument")
    refused: list[BaseException] = []
    for call in (device.synchronize, device.memory, lambda: device.copy_in(Bytes.bytes, Bytes())):
        try:
            call()
        except (RuntimeError, CopyFailed) as error:
            refused.append(error)
    assert not any(isinstance(error, DeviceBroken) for error in refused)
    assert bool(refused) == (failing in {"synchronize", "mem_get_info", "stream"})
    fence = device.fence()
    fence.wait()
    fence.done()
    assert device.broken is None


def test_a_capture_in_another_thread_does_not_break_it(device: CudaDevice, cuda: FakeTorchCuda) -> None:
    cuda.sticks = "CUDA error: operation not permitted when stream is capturing"
    with pytest.raises(CopyFailed) as refused:
        device.synchronize()
    assert not isinstance(refused.value, DeviceBroken)
    assert device.broken is None
    cuda.sticks = None
    assert device.memory() == DeviceMemory(100, 40, None)


def test_a_capture_is_not_spoiled_by_the_question(device: CudaDevice, cuda: FakeTorchCuda) -> None:
    """A synchronize while a graph is captured ends the capture."""
    cuda.fails["record"] = RuntimeError("CUDA error: operation not permitted when stream is capturing")
    device.fence()
    assert cuda.calls["synchronize"] == 0


def test_no_memory_does_not_break_it(device: CudaDevice, cuda: FakeTorchCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*shape: object, **more: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(DeviceFull):
        device.allocate(8)
    assert device.broken is None
    cuda.fails = dict.fromkeys(("mem_get_info", "synchronize"), torch.cuda.OutOfMemoryError("CUDA out of memory"))
    device.examine()
    assert device.broken is None


def test_it_is_said_once(device: CudaDevice, cuda: FakeTorchCuda, caplog: pytest.LogCaptureFixture) -> None:
    cuda.sticks = STUCK
    for _ in range(3):
        device.examine()
        device.fence()
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [str(DeviceBroken("cuda:0", STUCK))]


def test_a_trim_that_is_refused_is_no_error_of_what_went_before(device: CudaDevice, cuda: FakeTorchCuda) -> None:
    cuda.fails["empty_cache"] = RuntimeError("CUDA error: unknown error")
    device.trim()
    assert device.broken is None
    cuda.sticks = STUCK
    device.trim()
    assert device.broken == STUCK
    cuda.calls.clear()
    device.trim()
    assert cuda.calls["empty_cache"] == 0
