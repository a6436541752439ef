"""A demotion never meets running work: it is refused while in use, and demand during it waits and is answered."""

import asyncio
import threading

import pytest
from dormouse_modelserver import CopyFailed, Model, ModelBusy, ModelChanged, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from torch import nn

from tests.waiting import auntil, until

from .conftest import Loads, Stop, ask

TTS = Model[nn.Linear]
GPU, CPU, UNLOADED = Residency.GPU, Residency.CPU, Residency.UNLOADED


class InThread:
    """A call in a thread of its own, with its result or error."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.error: BaseException | None = None
        self.result: object = None

        def run() -> None:
            try:
                self.result = call(*arguments)  # type: ignore[operator]
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def ends(self) -> object:
        self.thread.join(20)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def use(tts: TTS, value: float) -> float:
    with tts.on_gpu(timeout=20) as model:
        return ask(model, value)


@pytest.mark.parametrize("to", [CPU, UNLOADED])
def test_it_is_refused_in_flight_with_figures(tts: TTS, to: Residency) -> None:
    with tts.on_gpu() as model, tts.on_gpu():
        with pytest.raises(ModelBusy, match=f"was not moved to {to}: in use by 2 requests, 0 waiting") as busy:
            tts.move_to(to)
        assert (busy.value.in_flight, busy.value.waiting) == (2, 0)
        assert ask(model, 1) == 3


async def test_it_is_refused_while_waking_and_waited_for(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()
    waiter = asyncio.create_task(asyncio.to_thread(use, tts, 1))
    await auntil(lambda: tts.snapshot().waiting == 1)
    with pytest.raises(ModelBusy, match="1 waiting, waking now"):
        await tts.amove_to(UNLOADED)
    loads.may_go_on.set()
    assert await waiter == 3


def test_a_wake_by_order_with_nobody_waiting_is_not_undone_half_way(tts: TTS, loads: Loads) -> None:
    loads.may_go_on.clear()
    waking = InThread(tts.move_to, GPU)
    assert loads.began.wait(10)
    with pytest.raises(ModelBusy, match="waking now"):
        tts.move_to(UNLOADED)
    loads.may_go_on.set()
    waking.ends()


def test_it_is_refused_when_not_idle_for_long_enough(tts: TTS) -> None:
    use(tts, 1)
    with pytest.raises(ModelBusy, match=r"idle for 0\.\d s only, and 600 s are asked for") as busy:
        tts.move_to(CPU, if_idle_for=600)
    assert 0 <= busy.value.idle_seconds < 600
    tts.move_to(CPU, if_idle_for=0)
    assert tts.snapshot().residency is CPU


def test_a_wake_counts_as_use(tts: TTS) -> None:
    tts.move_to(GPU)
    with pytest.raises(ModelBusy, match="idle for"):
        tts.move_to(CPU, if_idle_for=600)


def test_asking_for_where_it_is_does_nothing(tts: TTS) -> None:
    tts.move_to(UNLOADED)
    assert tts.snapshot().last_transition is None
    use(tts, 1)
    before = tts.snapshot().last_transition
    tts.move_to(GPU, if_idle_for=1000)
    assert tts.snapshot().last_transition == before


def test_demand_during_an_offload_waits_and_is_answered(changed: TTS, device: SimDevice) -> None:
    stop = device.faults.before_copy_out = Stop()
    demotion = InThread(changed.move_to, CPU)
    assert stop.reached.wait(10)
    request = InThread(use, changed, 4)
    until(lambda: changed.snapshot().waiting == 1)
    assert request.thread.is_alive()
    stop.go()
    assert request.ends() == 10
    demotion.ends()
    last = changed.snapshot().last_transition
    assert last is not None
    assert (last.from_, last.to, last.trigger) == (CPU, GPU, "Demand")


def test_demand_during_an_offload_that_fails_is_answered_from_the_device(changed: TTS, device: SimDevice) -> None:
    stop = device.faults.before_copy_out = Stop()
    device.faults.fail_copy_out = True
    demotion = InThread(changed.move_to, CPU)
    assert stop.reached.wait(10)
    request = InThread(use, changed, 4)
    until(lambda: changed.snapshot().waiting == 1)
    stop.go()
    assert request.ends() == 10
    with pytest.raises(CopyFailed):
        demotion.ends()
    assert changed.snapshot().residency is GPU


def test_demand_during_an_unload_waits_and_is_answered(tts: TTS, device: SimDevice, loads: Loads) -> None:
    use(tts, 1)
    late = Stop()
    with tts.on_gpu():
        device.run_late(late)
    demotion = InThread(tts.move_to, UNLOADED)
    until(lambda: tts.snapshot().transition is not None)
    request = InThread(use, tts, 4)
    until(lambda: tts.snapshot().waiting == 1)
    late.go()
    assert request.ends() == 9
    demotion.ends()
    assert loads.count == 2


def test_demand_during_a_refused_unload_is_answered(changed: TTS, device: SimDevice) -> None:
    late = Stop()
    with changed.on_gpu():
        device.run_late(late)
    demotion = InThread(changed.move_to, UNLOADED)
    until(lambda: changed.snapshot().transition is not None)
    request = InThread(use, changed, 4)
    until(lambda: changed.snapshot().waiting == 1)
    late.go()
    assert request.ends() == 10
    with pytest.raises(ModelChanged):
        demotion.ends()


def test_kernels_still_queued_are_finished_before_the_weights_move(tts: TTS, device: SimDevice) -> None:
    seen: list[float] = []
    late = Stop()
    with tts.on_gpu() as model:
        weight = model.weight
        device.run_late(late)
        device.run_late(lambda: seen.append(float(weight.detach()[0, 0])))
    demotion = InThread(tts.move_to, CPU)
    until(lambda: tts.snapshot().transition is not None)
    assert tts.snapshot().gpu_memory_bytes > 0
    assert demotion.thread.is_alive()
    assert weight.numel() == 16, "the weights are still there"
    late.go()
    demotion.ends()
    assert seen == [2.0]
    assert device.memory().used == 0


def test_an_unload_asked_for_during_an_offload_follows_it(changed: TTS, device: SimDevice, loads: Loads) -> None:
    with changed.on_gpu() as model:
        model.bias.data -= 1
        model.bias.data = model.bias.data.clone()  # copied at offload, but not changed
    held_up = Stop()
    with changed.on_gpu():
        device.run_late(held_up)
    offload = InThread(changed.move_to, CPU)
    until(lambda: changed.snapshot().transition is not None)
    unload = InThread(changed.move_to, UNLOADED)
    held_up.go()
    unload.ends()
    offload.ends()
    assert changed.snapshot().residency is UNLOADED
    assert use(changed, 1) == 3
    assert loads.count == 2


def test_an_unload_of_changed_weights_is_refused_and_not_counted_as_a_transition(changed: TTS) -> None:
    before = changed.snapshot().last_transition
    with pytest.raises(ModelChanged):
        changed.move_to(UNLOADED)
    assert changed.snapshot().last_transition == before
    assert changed.snapshot().dirty
    assert use(changed, 1) == 4


def test_memory_released_is_measured_and_summed_over_time(tts: TTS, manager: ResidencyManager) -> None:
    use(tts, 1)
    size = tts.snapshot().gpu_memory_bytes
    assert (tts.snapshot().gpu_memory_released_bytes, size > 0) == (0, True)
    tts.move_to(CPU)
    asleep = tts.snapshot()
    assert (asleep.gpu_memory_released_bytes, asleep.gpu_memory_bytes, asleep.released_method) == (size, 0, "sim")
    until(lambda: manager.slot("tts").view.figures().released_byte_seconds > 0)
    tts.move_to(UNLOADED)
    assert tts.snapshot().gpu_memory_released_bytes == size
    use(tts, 1)
    assert tts.snapshot().gpu_memory_released_bytes == 0
    saved = manager.slot("tts").view.figures().released_byte_seconds
    assert manager.slot("tts").view.figures().released_byte_seconds == saved, "nothing is saved on the GPU"


def test_a_model_that_could_not_be_restored_still_counts_what_it_released(tts: TTS, device: SimDevice) -> None:
    use(tts, 1)
    tts.move_to(CPU)
    released = tts.snapshot().gpu_memory_released_bytes
    device.faults.full_at_byte = 1
    with pytest.raises(Exception, match="has room for 1 bytes"):
        tts.move_to(GPU)
    assert (tts.snapshot().residency, tts.snapshot().gpu_memory_released_bytes) == (CPU, released)
    device.faults = SimFaults()


def test_an_unload_that_was_refused_is_refused_at_once_until_the_next_use(
    changed: TTS, manager: ResidencyManager
) -> None:
    """So that an order hears `Dirty` in its answer however long finding it out takes."""
    with pytest.raises(ModelChanged):
        changed.move_to(UNLOADED)
    slot = manager.slot(changed.name)
    with pytest.raises(ModelChanged):
        slot.begin_move(UNLOADED)
    use(changed, 1)
    looked_again = slot.begin_move(UNLOADED)
    assert looked_again is not None
    assert isinstance(looked_again.settled.result(10), ModelChanged)
