"""A wake without room: who leaves, who never does, and what is said when nobody can."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from dormouse_contract import Trigger
from dormouse_contract.wire import PolicyLoan
from dormouse_modelserver import (
    DeviceFull,
    HostFull,
    Model,
    ModelBusy,
    Residency,
    ResidencyManager,
    TransitionFailed,
)
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory
from torch import nn

from tests.waiting import until

from .conftest import ask, load_doubler

Manage = Callable[..., ResidencyManager]
GPU, CPU, UNLOADED = Residency.GPU, Residency.CPU, Residency.UNLOADED
_ONE = 512  # bytes of one doubler on the device


@pytest.fixture
def room_for(manage: Manage) -> Callable[..., list[Model[nn.Linear]]]:
    def room_for(models: int, of: int = 3, **settings: Any) -> list[Model[nn.Linear]]:
        manager = manage(f"sim:{models * _ONE}", **settings)
        return [manager.register(f"m{number}", load=load_doubler) for number in range(of)]

    return room_for


RoomFor = Callable[..., list[Model[nn.Linear]]]


def use(model: Model[nn.Linear], value: float = 1) -> None:
    with model.on_gpu(timeout=10) as there:
        assert ask(there, value) == 2 * value + 1


def where(models: list[Model[nn.Linear]]) -> list[Residency]:
    return [model.snapshot().residency for model in models]


def test_the_least_recently_used_leaves_and_the_transition_says_why(room_for: RoomFor) -> None:
    models = room_for(2)
    for number in (0, 1, 0):
        use(models[number])
    use(models[2])
    assert where(models) == [GPU, CPU, GPU]
    last = models[1].snapshot().last_transition
    assert last is not None
    assert last.trigger == Trigger.PRESSURE
    assert last.reason == f"m2 needs {_ONE} bytes and 0 are free"


def test_the_minimum_residence_is_no_hindrance(room_for: RoomFor) -> None:
    models = room_for(1, min_resident=3600.0)
    for _ in range(2):
        for model in models:
            use(model)


def test_one_in_flight_never_leaves(room_for: RoomFor) -> None:
    models = room_for(1, wake_budget=0.3)
    with models[0].on_gpu() as held:
        with pytest.raises((DeviceFull, TimeoutError), match=rf"0 bytes.*{_ONE}"):
            models[1].on_gpu(timeout=0.3).__enter__()
        with pytest.raises(DeviceFull) as full:
            models[1].move_to(GPU)
        assert (full.value.need_bytes, full.value.room_bytes) == (_ONE, 0)
        assert ask(held, 2) == 5
    use(models[1])


def test_one_pinned_by_hand_never_leaves(manage: Manage) -> None:
    manager = manage(f"sim:{_ONE}")
    first, second = (manager.register(name, load=load_doubler) for name in ("first", "second"))
    use(first)
    manager.slot("first").pin_by_hand(True)
    with pytest.raises(DeviceFull):
        second.move_to(GPU)
    assert first.snapshot().residency is GPU
    manager.slot("first").pin_by_hand(False)
    use(second)


def test_one_pinned_by_a_loan_never_leaves(manage: Manage) -> None:
    manager = manage(f"sim:{_ONE}")
    first, second = (manager.register(name, load=load_doubler) for name in ("first", "second"))
    use(first)
    manager.slot("first").lend(PolicyLoan(pinned=True, valid_for_seconds=3600))
    with pytest.raises(DeviceFull):
        second.move_to(GPU)
    assert first.snapshot().residency is GPU


def test_two_wakes_at_once_without_room_for_both_both_end_and_both_models_are_whole(room_for: RoomFor) -> None:
    models = room_for(1, of=2)
    for _ in range(20):
        ended: list[object] = []

        def wake(model: Model[nn.Linear], ended: list[object] = ended) -> None:
            try:
                model.move_to(GPU)
                ended.append(None)
            except (DeviceFull, ModelBusy) as error:
                ended.append(error)

        threads = [threading.Thread(target=wake, args=(model,)) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "it hangs"
        assert None in ended
        for model in models:
            use(model)
        models[0].move_to(CPU)


def test_the_room_that_a_first_load_needs_is_asked_for_when_it_is_known(room_for: RoomFor) -> None:
    models = room_for(1)
    use(models[0])
    seen: list[Residency] = []

    def load() -> nn.Linear:
        seen.append(models[0].snapshot().residency)
        return load_doubler()

    models[1]._weights._loader._load = load
    use(models[1])
    assert seen == [GPU], "nobody was sent away before the need was known"
    assert models[0].snapshot().residency is CPU


def full_host(manager: ResidencyManager, nbytes: int) -> None:
    manager._process.host._read = lambda: HostMemory(1 << 30, nbytes)


@pytest.mark.parametrize("trigger", [Trigger.IDLE, Trigger.AFTER_TASK, Trigger.PRESSURE])
def test_without_host_ram_the_ladder_goes_straight_to_unloaded(manager: ResidencyManager, trigger: Trigger) -> None:
    model = manager.register("m", load=load_doubler, mirror="drop")
    use(model)
    full_host(manager, 10)
    model.move_to(CPU, trigger=trigger, reason="it is time")
    assert model.snapshot().residency is UNLOADED, "and it is not loaded again to be on the CPU"
    last = model.snapshot().last_transition
    assert last is not None
    assert "host RAM has room for 10 bytes" in last.reason
    full_host(manager, 1 << 29)
    use(model)


def test_without_host_ram_an_order_by_hand_fails_cleanly(manager: ResidencyManager) -> None:
    model = manager.register("m", load=load_doubler, mirror="drop")
    use(model)
    full_host(manager, 10)
    with pytest.raises(HostFull):
        model.move_to(CPU)
    assert (model.snapshot().residency, manager.device.memory().used) == (GPU, _ONE)
    use(model)


def test_changed_and_no_host_ram_it_stays_on_the_gpu_and_says_so_once_in_a_while(manage: Manage) -> None:
    manager = manage(idle_timeout=0.05)
    model = manager.register("m", load=load_doubler, mirror="drop")
    with model.on_gpu() as held:
        held.bias.data += 1
    full_host(manager, 10)
    until(lambda: model.snapshot().last_transition.outcome == "failed")  # type: ignore[union-attr]
    last = model.snapshot().last_transition
    assert last is not None
    assert "host RAM has room for 10 bytes" in last.reason
    assert "differ from what load gives" in last.reason
    failed = manager.slot("m").view.demotion_failed_at
    use_now = model.snapshot()
    assert (use_now.residency, manager.device.memory().used) == (GPU, _ONE)
    with model.on_gpu() as held:
        assert ask(held, 1) == 4
    until(lambda: model.snapshot().idle_seconds > 0.3)
    assert manager.slot("m").view.demotion_failed_at == failed, "it is not tried again and again"


def test_an_offload_by_order_that_fails_twice_is_told_each_time(manager: ResidencyManager) -> None:
    model = manager.register("m", load=load_doubler, mirror="drop")
    with model.on_gpu() as held:
        held.bias.data += 1
    full_host(manager, 10)
    for _ in range(2):
        with pytest.raises(TransitionFailed):
            model.move_to(CPU, trigger=Trigger.IDLE)
    assert model.snapshot().residency is GPU
