"""The local timers: the ladder with short real timeouts, after-task, and what is tried again."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from dormouse_modelserver import ConfigurationError, Model, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from torch import nn

from tests.waiting import until

from .conftest import Stop, ask, load_doubler

GPU, CPU, UNLOADED = Residency.GPU, Residency.CPU, Residency.UNLOADED
Manage = Callable[..., ResidencyManager]


def use(model: Model[nn.Linear], value: float = 1) -> float:
    with model.on_gpu(timeout=20) as there:
        return ask(there, value)


def last(model: Model[nn.Linear]) -> tuple[Residency, Residency, str]:
    ended = model.snapshot().last_transition
    assert ended is not None
    return ended.from_, ended.to, ended.trigger


def test_an_idle_model_goes_down_the_ladder_one_rung_after_the_other(manage: Manage) -> None:
    tts = manage(idle_timeout=0.2, unload_timeout=1.5).register("tts", load=load_doubler)
    began = time.monotonic()  # before the use ends: idleness counts from there, and is never shorter
    use(tts)
    until(lambda: tts.snapshot().residency is CPU)
    assert time.monotonic() - began >= 0.2
    assert last(tts) == (GPU, CPU, "Idle")
    until(lambda: tts.snapshot().residency is UNLOADED)
    assert time.monotonic() - began >= 1.5
    assert last(tts) == (CPU, UNLOADED, "Idle")
    assert use(tts, 4) == 9


def test_use_keeps_it_awake(manage: Manage) -> None:
    tts = manage(idle_timeout=0.4).register("tts", load=load_doubler)
    use(tts)
    woke = tts.snapshot().last_transition
    for _ in range(12):
        until(lambda: tts.snapshot().idle_seconds > 0.08)
        use(tts)
    assert tts.snapshot().last_transition == woke
    until(lambda: tts.snapshot().residency is CPU)


def test_a_long_use_is_no_idleness(manage: Manage) -> None:
    tts = manage(idle_timeout=0.1).register("tts", load=load_doubler)
    with tts.on_gpu() as model:
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.4)
        assert ask(model, 1) == 3
        assert tts.snapshot().idle_seconds == 0
    until(lambda: tts.snapshot().residency is CPU)


def test_a_model_loaded_by_order_and_never_used_sleeps_again(manage: Manage) -> None:
    tts = manage(idle_timeout=0.1).register("tts", load=load_doubler)
    tts.move_to(GPU)
    until(lambda: tts.snapshot().residency is CPU)


def test_after_a_task_the_weights_leave_within_two_seconds(manage: Manage) -> None:
    tts = manage(idle_timeout=600, after_task="offload").register("tts", load=load_doubler)
    for _ in range(3):
        use(tts)
        until(lambda: tts.snapshot().residency is CPU, within_seconds=2)
        assert last(tts) == (GPU, CPU, "AfterTask")


def test_after_a_task_waits_for_the_last_of_those_that_run(manage: Manage) -> None:
    tts = manage(after_task="offload").register("tts", load=load_doubler)
    with tts.on_gpu() as model:
        use(tts)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.2)
        assert ask(model, 1) == 3
    until(lambda: tts.snapshot().residency is CPU, within_seconds=2)


def test_each_model_may_have_timeouts_of_its_own(manage: Manage) -> None:
    manager = manage(idle_timeout=0.1)
    quick = manager.register("quick", load=load_doubler)
    never = manager.register("never", load=load_doubler, idle_timeout=float("inf"))
    use(quick)
    use(never)
    until(lambda: quick.snapshot().residency is CPU)
    assert never.snapshot().residency is GPU


def test_a_model_stays_for_its_minimum_residence_after_a_wake(manage: Manage) -> None:
    tts = manage(idle_timeout=0.1, min_resident=0.6).register("tts", load=load_doubler)
    began = time.monotonic()
    use(tts)
    until(lambda: tts.snapshot().residency is CPU)
    assert time.monotonic() - began >= 0.6


def test_changed_weights_stay_in_host_ram_and_are_not_asked_about_again_and_again(manage: Manage) -> None:
    manager = manage(idle_timeout=0.05, unload_timeout=0.2)
    tts = manager.register("tts", load=load_doubler)
    with tts.on_gpu() as model:
        model.bias.data += 1
    until(lambda: refusals(manager) == 1)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.5)
    assert (tts.snapshot().residency, refusals(manager)) == (CPU, 1)
    assert use(tts, 1) == 4
    until(lambda: refusals(manager) == 2)


def test_a_demotion_that_fails_is_not_tried_again_at_once(manage: Manage) -> None:
    """Each try is a pass over the weights, and requests wait for it."""
    manager = manage(idle_timeout=0.05)
    assert isinstance(manager.device, SimDevice)
    manager.device.faults.fail_copy_out = True
    tries = manager.device.faults.before_copy_out = Stop()
    tries.go()
    tts = manager.register("tts", load=load_doubler)
    with tts.on_gpu() as model:
        model.bias.data += 1
    until(lambda: tries.times == 1)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.7)
    assert tries.times == 1
    assert tts.snapshot().residency is GPU
    manager.device.faults = SimFaults()
    tts.move_to(CPU)


def test_a_closed_manager_leaves_models_where_they_are(manage: Manage) -> None:
    manager = manage(idle_timeout=0.2)
    tts = manager.register("tts", load=load_doubler)
    use(tts)
    manager.close()
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.5)
    assert tts.snapshot().residency is GPU


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"idle_timeout": -1}, "idle_timeout is -1"),
        ({"idle_timeout": float("nan")}, "idle_timeout is nan"),
        ({"idle_timeout": 10, "unload_timeout": 5}, "the unload must come later"),
        ({"after_task": "drop"}, "write 'keep' or 'offload'"),
        ({"min_resident": -1}, "min_resident is -1"),
    ],
)
def test_settings_that_can_not_work_are_refused(manage: Manage, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        manage(**settings)


def refusals(manager: ResidencyManager) -> float:
    samples = [s for family in manager.telemetry.registry.collect() for s in family.samples]
    named = [s for s in samples if s.name == "dormouse_transitions_total" and s.labels["outcome"] == "refused"]
    return sum(s.value for s in named)
