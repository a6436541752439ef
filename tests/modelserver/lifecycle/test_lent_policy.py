"""A policy that the operator lends: it counts instead of the server's own, until it lapses or is withdrawn."""

from collections.abc import Callable
from typing import Any

import pytest
from dormouse_contract.wire import OrderStamp, PolicyLoan
from dormouse_modelserver import Model, Residency, ResidencyManager, StaleOrder
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.lifecycle.settings import SlotSettings
from dormouse_modelserver.lifecycle.slot import Slot
from dormouse_modelserver.lifecycle.telemetry import Telemetry
from torch import nn

from tests.modelserver.engine.using import weights_on
from tests.waiting import until

from .conftest import ask, load_doubler

Manage = Callable[..., ResidencyManager]


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slot(clock: Clock) -> Slot[nn.Linear]:
    own = SlotSettings(idle_timeout_seconds=300, unload_timeout_seconds=900, wake_budget_seconds=20)
    return Slot("tts", weights_on(SimDevice("sim"), load_doubler), own, Telemetry(), clock=clock)


def loan(owner: str = "a", *, generation: int = 1, issuer: str = "lease", term: int = 1, **what: Any) -> PolicyLoan:
    stamp = OrderStamp(owner=owner, generation=generation, issuer=issuer, term=term)
    return PolicyLoan(**{"valid_for_seconds": 3600, "order": stamp, **what})


def use(model: Model[nn.Linear]) -> None:
    with model.on_gpu() as there:
        assert ask(there, 1) == 3


def test_while_a_policy_is_lent_the_servers_own_timeouts_rest(slot: Slot[nn.Linear]) -> None:
    slot.lend(loan(keep_alive_seconds=5, min_resident_seconds=7))
    in_force = slot.view.settings
    assert (in_force.idle_timeout_seconds, in_force.unload_timeout_seconds) == (5, None)
    assert (in_force.min_resident_seconds, in_force.wake_budget_seconds) == (7, 20)
    slot.lend(loan(wake_budget_seconds=3))
    assert (slot.view.settings.idle_timeout_seconds, slot.view.settings.wake_budget_seconds) == (None, 3)


def test_a_policy_lapses(slot: Slot[nn.Linear], clock: Clock) -> None:
    slot.lend(loan(keep_alive_seconds=5, pinned=True, valid_for_seconds=100))
    clock.now += 99.9
    assert (slot.view.settings.idle_timeout_seconds, slot.view.snapshot().pinned) == (5, True)
    clock.now += 0.1
    assert (slot.view.settings.idle_timeout_seconds, slot.view.snapshot().pinned) == (300, False)


def test_only_its_own_owner_withdraws_a_policy(slot: Slot[nn.Linear]) -> None:
    slot.lend(loan("a", keep_alive_seconds=5))
    slot.lend(loan("b", valid_for_seconds=0))
    assert slot.view.settings.idle_timeout_seconds == 5
    slot.lend(loan("a", valid_for_seconds=0))
    assert slot.view.settings.idle_timeout_seconds == 300


def test_a_newer_policy_replaces_the_one_before_also_of_another_owner(slot: Slot[nn.Linear]) -> None:
    slot.lend(loan("a", keep_alive_seconds=5))
    slot.lend(loan("b", keep_alive_seconds=8))
    assert slot.view.settings.idle_timeout_seconds == 8
    slot.lend(loan("a", valid_for_seconds=0))
    assert slot.view.settings.idle_timeout_seconds == 8


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(loan("a", generation=4, keep_alive_seconds=9), id="older generation of its owner"),
        pytest.param(loan("a", generation=6, term=1, keep_alive_seconds=9), id="older term of its issuer"),
        pytest.param(loan("b", generation=1, term=1, keep_alive_seconds=9), id="older term, new owner"),
        pytest.param(loan("a", generation=4, valid_for_seconds=0), id="late withdrawal"),
    ],
)
def test_a_policy_that_a_newer_one_overtook_changes_nothing(slot: Slot[nn.Linear], stale: PolicyLoan) -> None:
    slot.lend(loan("a", generation=5, term=2, keep_alive_seconds=5))
    with pytest.raises(StaleOrder):
        slot.lend(stale)
    assert slot.view.settings.idle_timeout_seconds == 5


@pytest.mark.parametrize(
    "fresh",
    [
        pytest.param(loan("a", generation=5, term=2, keep_alive_seconds=9), id="the same again"),
        pytest.param(loan("a", generation=6, term=2, keep_alive_seconds=9), id="newer generation"),
        pytest.param(loan("a", generation=5, term=3, keep_alive_seconds=9), id="newer term"),
        pytest.param(loan("b", generation=1, term=2, keep_alive_seconds=9), id="a new owner starts at 1"),
        pytest.param(loan("a", generation=5, issuer="other", term=0, keep_alive_seconds=9), id="a new issuer"),
    ],
)
def test_what_is_not_older_passes(slot: Slot[nn.Linear], fresh: PolicyLoan) -> None:
    slot.lend(loan("a", generation=5, term=2, keep_alive_seconds=5))
    slot.lend(fresh)
    assert slot.view.settings.idle_timeout_seconds == 9


def test_a_lent_keep_alive_of_zero_takes_the_weights_off_within_two_seconds(manage: Manage) -> None:
    manager = manage()
    tts = manager.register("tts", load=load_doubler)
    use(tts)
    assert tts.snapshot().residency is Residency.GPU
    manager.slot("tts").lend(loan(keep_alive_seconds=0, min_resident_seconds=60))
    until(lambda: tts.snapshot().residency is Residency.CPU, within_seconds=2)
    use(tts)
    until(lambda: tts.snapshot().residency is Residency.CPU, within_seconds=2)


def test_a_pin_holds_a_model_until_it_lapses(manage: Manage) -> None:
    manager = manage(idle_timeout=0.1)
    tts = manager.register("tts", load=load_doubler)
    manager.slot("tts").lend(loan(keep_alive_seconds=0.1, pinned=True, valid_for_seconds=0.8))
    use(tts)
    until(lambda: tts.snapshot().idle_seconds > 0.4)
    assert (tts.snapshot().residency, tts.snapshot().pinned) == (Residency.GPU, True)
    until(lambda: tts.snapshot().residency is Residency.CPU)
    assert not tts.snapshot().pinned


def test_a_lent_wake_budget_is_the_one_that_counts(slot: Slot[nn.Linear]) -> None:
    slot.lend(loan(wake_budget_seconds=0.5))
    assert slot.view.settings.wake_budget_seconds == 0.5
