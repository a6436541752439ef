"""A day of a replica under `plan()`, with a signal that lags: what moves it is demand, schedules and people."""

import random
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from dormouse_contract import Action, Mode, Observation, Policy, Residency, Window, plan
from hypothesis import given, settings
from hypothesis import strategies as st

GPU, CPU, UNLOADED = Residency.GPU, Residency.CPU, Residency.UNLOADED
TICK = 15.0
SIGNAL_LAGS = 15.0
BEGINS = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()  # the clock changes in the night
STEPS = 24 * 240


@dataclass
class Replica:
    """What the pod does: wakes on demand, checks an order's precondition itself."""

    now: float
    at: Residency = CPU
    idle_since: float = BEGINS - 1e6
    resident_since: float | None = None
    moves: int = 0
    wakes_by_order: int = 0

    def use(self) -> None:
        if self.at is not GPU:
            self.move(GPU)
        self.idle_since = self.now

    def take(self, desired: Residency, if_idle_for: float | None) -> None:
        if self.at is desired or (if_idle_for is not None and self.now - self.idle_since < if_idle_for):
            return
        if desired.is_above(self.at):
            self.wakes_by_order += 1
            self.idle_since = self.now
        self.move(desired)

    def move(self, to: Residency) -> None:
        self.moves += 1
        self.at = to
        if to is GPU:
            self.resident_since = self.idle_since = self.now

    def observed(self) -> Observation:
        return Observation(self.at, 0, self.idle_since, self.resident_since, SIGNAL_LAGS)


windows = st.builds(
    Window,
    cron=st.sampled_from(["0 8 * * *", "30 2 * * *", "0 * * * *", "*/20 * * * *", "45 23 * * 6,0"]),
    time_zone=st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    duration_seconds=st.sampled_from([60, 600, 1190, 3599, 36_000]),
    residency=st.sampled_from(Residency),
)
ladders = st.sampled_from([(None, None), (0, 600), (600, None), (600, 7200), (None, 900), (20, 40)])
edits = st.lists(st.tuples(st.integers(0, STEPS - 1), st.none() | st.sampled_from(Residency)), max_size=4)


@settings(max_examples=15)
@given(ladders, st.lists(windows, max_size=2), edits, st.integers(0, 2**32), st.sampled_from([0, 3, 40]))
def test_transitions_are_bounded_by_demand_window_edges_and_edits(
    ladder: tuple[float | None, float | None],
    schedule: list[Window],
    edits: list[tuple[int, Residency | None]],
    seed: int,
    uses_in_a_day: int,
) -> None:
    """Each cause can take it up once and then down the ladder, which has two rungs: three moves at most."""
    policy = Policy(offload_after_seconds=ladder[0], unload_after_seconds=ladder[1], schedule=tuple(schedule))
    chance = random.Random(seed)  # noqa: S311 - a schedule of requests and no secret
    used_at = {chance.randrange(STEPS) for _ in range(uses_in_a_day)}
    by_step = dict(edits)
    replica, told = Replica(BEGINS), Replica(BEGINS).observed()
    edges, was_open = 0, [False] * len(schedule)
    for step in range(STEPS):
        # The operator's clock is set back by up to 20 s now and then, as NTP may; the replica's is not.
        replica.now = BEGINS + step * TICK
        now = replica.now - (20 if step % 500 == 499 else 0)
        if step in by_step:
            policy = replace(policy, residency=by_step[step], residency_since=now)
        is_open = [window.open_until(now) is not None for window in schedule]
        edges += sum(before != after for before, after in zip(was_open, is_open, strict=True))
        was_open = is_open
        if step in used_at:
            replica.use()
        decision = plan(policy, told, now)
        told = replica.observed()  # one tick old when it is looked at
        if decision.action is Action.ORDER:
            assert decision.desired is not None
            replica.take(decision.desired, decision.if_idle_for_seconds)
    causes = len(used_at) + edges + len(by_step) + 1
    assert replica.moves <= 3 * causes
    assert replica.wakes_by_order <= 2 * (edges + len(by_step)), "it was woken without anybody's wish"


def test_with_steady_demand_a_manual_cpu_costs_one_pair_of_moves_per_minimum_residence() -> None:
    policy = Policy(residency=CPU, residency_since=BEGINS, min_resident_seconds=60)
    replica = Replica(BEGINS)
    for second in range(3600):
        replica.now = BEGINS + second
        if second % 7 == 0:
            replica.use()
        decision = plan(policy, replica.observed(), replica.now)
        if decision.action is Action.ORDER:
            replica.take(CPU, decision.if_idle_for_seconds)
    assert replica.moves <= 2 * 3600 / 60 + 2


def test_a_clock_that_is_set_back_holds_and_never_demotes_early() -> None:
    woken = Observation(GPU, 0, BEGINS + 100, BEGINS + 100)
    assert plan(Policy(offload_after_seconds=0.5), woken, BEGINS).action is Action.HOLD
    assert plan(Policy(offload_after_seconds=600), woken, BEGINS).action is Action.HOLD


def test_when_the_manual_residency_ends_the_ladder_goes_on_from_where_it_is() -> None:
    for at in Residency:
        seen = Observation(at, 0, BEGINS - 10, BEGINS - 1000)
        policy = Policy(residency=at, residency_until=BEGINS, offload_after_seconds=600, unload_after_seconds=7200)
        assert plan(policy, seen, BEGINS).action is Action.HOLD


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PAUSED])
def test_who_does_not_act_moves_nothing_all_day(mode: Mode) -> None:
    policy = Policy(mode=mode, residency=GPU, offload_after_seconds=0)
    for hour in range(24):
        seen = Observation(CPU, 0, BEGINS)
        assert plan(policy, seen, BEGINS + hour * 3600).action is not Action.ORDER
