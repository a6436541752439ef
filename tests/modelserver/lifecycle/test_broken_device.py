"""After the device has failed for good: everything that needs it says so at once, and nothing hangs or repeats."""

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from dormouse_contract import Trigger
from dormouse_modelserver import CopyFailed, DeviceBroken, Model, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.lifecycle.moving import carry_out
from dormouse_modelserver.lifecycle.transition import Transition
from torch import nn

from tests.waiting import auntil, until

from .conftest import Loads, Stop, ask, load_doubler
from .test_demotions import InThread, use

TTS = Model[nn.Linear]
Manage = Callable[..., ResidencyManager]
GPU, CPU, UNLOADED = Residency.GPU, Residency.CPU, Residency.UNLOADED
SENTENCE = (
    "sim:1MiB failed and does nothing more in this process (simulated: a kernel failed: assertion `i < n` failed). "
    "The weights in host RAM and on disk are unharmed. Restart the process"
)


def failing_kernel() -> None:
    raise RuntimeError("assertion `i < n` failed.\nand advice that nobody needs")


def break_in_a_use(model: TTS, device: SimDevice) -> None:
    """As on CUDA: the use that queued the kernel ends well, and the kernel fails afterwards."""
    with model.on_gpu():
        device.run_late(failing_kernel)
    until(lambda: device.broken is not None)


def on_device(manager: ResidencyManager) -> SimDevice:
    assert isinstance(manager.device, SimDevice)
    return manager.device


def warned(caplog: pytest.LogCaptureFixture, manager: ResidencyManager) -> list[str]:
    """Of this device only: a thread of the test before may still say its last word."""
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [message for message in said if manager.device.name in message]


@pytest.mark.parametrize("at", [GPU, CPU, UNLOADED])
def test_a_new_use_is_told_at_once(tts: TTS, device: SimDevice, at: Residency) -> None:
    use(tts, 1)
    tts.move_to(at)
    device.run_late(failing_kernel)
    until(lambda: device.broken is not None)
    began = time.monotonic()
    with pytest.raises(DeviceBroken) as broken, tts.on_gpu():
        pytest.fail("it was let in")
    assert str(broken.value) == SENTENCE
    assert time.monotonic() - began < 1
    assert (tts.snapshot().in_flight, tts.snapshot().waiting, tts.snapshot().residency) == (0, 0, at)


async def test_a_new_async_use_is_told_at_once(tts: TTS, device: SimDevice) -> None:
    async with tts.on_gpu():
        device.run_late(failing_kernel)
    await auntil(lambda: device.broken is not None)
    with pytest.raises(DeviceBroken):
        async with tts.on_gpu():
            pytest.fail("it was let in")


def test_a_use_that_runs_gets_torchs_own_error_and_ends(tts: TTS, device: SimDevice) -> None:
    with tts.on_gpu():
        device.run_late(failing_kernel)
        until(lambda: device.broken is not None)
        with pytest.raises(RuntimeError, match="assertion"):
            device.run_late(failing_kernel)
    assert tts.snapshot().in_flight == 0


@pytest.mark.parametrize("at", [GPU, CPU, UNLOADED])
@pytest.mark.parametrize("to", [GPU, CPU, UNLOADED])
def test_every_move_fails_at_once_and_is_no_transition(
    tts: TTS, device: SimDevice, at: Residency, to: Residency
) -> None:
    use(tts, 1)
    tts.move_to(at)
    before = tts.snapshot().last_transition
    device.break_device()
    with pytest.raises(DeviceBroken):
        tts.move_to(to)
    with pytest.raises(DeviceBroken):
        asyncio.run(tts.amove_to(to))
    assert (tts.snapshot().residency, tts.snapshot().last_transition) == (at, before)


def test_a_demotion_that_waits_for_kernels_ends_when_one_fails(tts: TTS, device: SimDevice) -> None:
    ran: list[bool] = []
    late = Stop()
    with tts.on_gpu():
        device.run_late(late)
        device.run_late(failing_kernel)
        device.run_late(lambda: ran.append(True))
    demotion = InThread(tts.move_to, CPU)
    until(lambda: tts.snapshot().transition is not None)
    request = InThread(use, tts, 1)
    until(lambda: tts.snapshot().waiting == 1)
    late.go()
    with pytest.raises(DeviceBroken):
        demotion.ends()
    with pytest.raises(DeviceBroken):
        request.ends()
    assert not ran, "nothing runs after a kernel that failed"
    assert (tts.snapshot().residency, tts.snapshot().waiting, tts.snapshot().in_flight) == (GPU, 0, 0)


def test_fences_of_a_broken_device_hold_nobody_up(device: SimDevice) -> None:
    held_up = Stop()
    device.run_late(held_up)
    fence = device.fence()
    device.run_late(failing_kernel, aside=True)
    until(lambda: device.broken is not None)
    fence.wait()
    assert fence.done()
    held_up.go()


@pytest.mark.parametrize("then", ["one waits", "many wait"])
def test_who_waits_for_a_wake_is_told_when_its_copy_fails(tts: TTS, device: SimDevice, loads: Loads, then: str) -> None:
    loads.may_go_on.clear()
    device.faults.before_copy_in = device.break_device
    requests = [InThread(use, tts, 1) for _ in range(1 if then == "one waits" else 8)]
    until(lambda: tts.snapshot().waiting == len(requests))
    loads.may_go_on.set()
    for request in requests:
        with pytest.raises(DeviceBroken):
            request.ends()
    assert (tts.snapshot().waiting, tts.snapshot().transition, loads.count) == (0, None, 1)


def test_a_warm_up_that_breaks_it_is_told_as_that(manager: ResidencyManager, device: SimDevice) -> None:
    def warm_up(model: nn.Linear) -> None:
        device.break_device("illegal address")
        raise RuntimeError("CUDA error")

    tts = manager.register("tts", load=load_doubler, warm_up=warm_up)
    with pytest.raises(DeviceBroken, match=r"\(illegal address\)"):
        use(tts, 1)


def test_a_refused_copy_behind_which_the_device_is_broken_is_told_as_that(
    changed: TTS, device: SimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.faults.fail_copy_out = True
    monkeypatch.setattr(device, "examine", device.break_device)
    with pytest.raises(DeviceBroken) as broken:
        changed.move_to(CPU)
    assert isinstance(broken.value.__cause__, CopyFailed)


def test_a_refused_copy_alone_breaks_nothing(changed: TTS, device: SimDevice) -> None:
    device.faults.fail_copy_out = True
    with pytest.raises(CopyFailed):
        changed.move_to(CPU)
    assert device.broken is None
    assert use(changed, 1) == 4


def test_a_wake_that_begins_on_a_broken_device_loads_nothing(
    manager: ResidencyManager, tts: TTS, device: SimDevice, loads: Loads
) -> None:
    """Those who waited for a demotion to end begin one, and the device may have failed in between."""
    device.break_device()
    wake = Transition(UNLOADED, GPU, Trigger.DEMAND, "1 waiting", 0.0)
    error, _ = carry_out(manager.slot("tts")._engine, wake, [], "tts")
    assert isinstance(error, DeviceBroken)
    assert loads.count == 0


def test_a_wake_that_waits_for_room_gives_up(manage: Manage) -> None:
    manager = manage("sim:512")
    held, wants = (manager.register(name, load=load_doubler) for name in ("held", "wants"))
    with held.on_gpu():
        request = InThread(use, wants, 1)
        until(lambda: wants.snapshot().waiting == 1)
        on_device(manager).break_device()
        with pytest.raises(DeviceBroken):
            request.ends()


def test_the_idle_timer_is_quiet(manage: Manage, caplog: pytest.LogCaptureFixture) -> None:
    manager = manage("sim:2MiB", idle_timeout=0.05)
    tts = manager.register("tts", load=load_doubler)
    looks: list[float] = []
    due = manager._idle_timer._due

    def counted(slot: object) -> object:
        looks.append(time.monotonic())
        return due(slot)  # type: ignore[arg-type]

    manager._idle_timer._due = counted  # type: ignore[assignment, method-assign]
    with tts.on_gpu():
        on_device(manager).break_device()
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.5)
    assert len(looks) < 20, "one that finds nothing to do and looks all the time looks thousands of times"
    assert warned(caplog, manager) == [str(DeviceBroken("sim:2MiB", on_device(manager).broken or ""))]
    assert tts.snapshot().residency is GPU


def test_the_idle_timer_finds_it_and_is_quiet_afterwards(manage: Manage, caplog: pytest.LogCaptureFixture) -> None:
    manager = manage("sim:3MiB", idle_timeout=0.05)
    tts = manager.register("tts", load=load_doubler)
    on_device(manager).faults.before_copy_out = on_device(manager).break_device
    with tts.on_gpu() as model:
        model.bias.data += 1  # or nothing is copied
    until(lambda: on_device(manager).broken is not None and tts.snapshot().transition is None)
    last = tts.snapshot().last_transition
    assert last is not None
    assert (last.outcome, last.trigger) == ("failed", Trigger.IDLE)
    assert "Restart the process" in last.reason
    assert manager._idle_timer._due(manager.slot("tts")) == (None, float("inf")), "and not again in ten seconds"
    until(lambda: len(warned(caplog, manager)) == 2)  # the device and the transition
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.3)
    assert len(warned(caplog, manager)) == 2


def test_a_neighbour_is_told_that_nobody_can_leave(manage: Manage) -> None:
    manager = manage()
    tts = manager.register("tts", load=load_doubler)
    use(tts, 1)
    assert manager._arbiter._answer({"ask": "idle"})["idle"]
    on_device(manager).break_device()
    assert manager._arbiter._answer({"ask": "idle"}) == {"idle": []}
    assert manager._arbiter._answer({"ask": "leave", "model": "tts", "reason": "room"}) == {"left": False}


def test_closing_the_manager_is_quick(manage: Manage) -> None:
    manager = manage(idle_timeout=0.05)
    break_in_a_use(manager.register("tts", load=load_doubler), on_device(manager))
    began = time.monotonic()
    manager.close()
    assert time.monotonic() - began < 2


def test_a_kernel_that_hangs_in_another_stream_keeps_nobody(tts: TTS, device: SimDevice) -> None:
    held_up = Stop()
    with tts.on_gpu():
        device.run_late(held_up, aside=True)
    demotion = InThread(tts.move_to, CPU)
    until(lambda: tts.snapshot().transition is not None)
    device.break_device()
    with pytest.raises(DeviceBroken):
        demotion.ends()
    held_up.go()


def test_many_at_once(tts: TTS, device: SimDevice) -> None:
    """Uses that come, run and wait while it breaks: each ends, with an answer or with the sentence."""
    ended: list[str] = []
    go = threading.Event()

    def one(number: int) -> None:
        assert go.wait(20)
        for turn in range(20):
            try:
                with tts.on_gpu() as model:
                    ask(model, number)
                    if (number, turn) == (3, 5):
                        device.run_late(failing_kernel)
                ended.append("answered")
            except DeviceBroken:
                ended.append("told")

    threads = [threading.Thread(target=partial(one, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(30)
    until(lambda: device.broken is not None)
    assert len(ended) == 160
    snapshot = tts.snapshot()
    assert (snapshot.in_flight, snapshot.waiting, snapshot.transition) == (0, 0, None)


def test_the_interpreter_ends() -> None:
    program = """
    import time
    from dormouse_modelserver import DeviceBroken, Residency, ResidencyManager
    from tests.modelserver.lifecycle.conftest import load_doubler

    manager = ResidencyManager("sim:1MiB", socket="", idle_timeout=0.05)
    tts = manager.register("tts", load=load_doubler)
    def fails():
        raise RuntimeError("assertion failed")
    with tts.on_gpu():
        manager.device.run_late(fails)
        manager.device.run_late(lambda: time.sleep(3600))
    while manager.device.broken is None:
        time.sleep(0.01)
    try:
        tts.move_to(Residency.CPU)
    except DeviceBroken as broken:
        print("told:", broken)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.startswith("told: sim:1MiB failed")
    assert "Traceback" not in ran.stderr
