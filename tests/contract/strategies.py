"""Everything that a policy, a replica and a moment can be, for the property tests of `plan()`."""

import math

from dormouse_contract import Mode, Observation, Policy, Residency, Window
from hypothesis import strategies as st

# 2024 to 2032: every generated moment lies in it, with both changes of daylight saving time in each year.
NOW = st.floats(1_704_067_200, 1_956_528_000)
_ABOUT_NOW = st.floats(1_704_067_200 - 10 * 86_400, 1_956_528_000 + 10 * 86_400)
_NO_TIME = st.sampled_from([None, math.nan, math.inf, -math.inf])
_SECONDS = st.one_of(st.just(0.0), st.floats(0, 100_000), st.integers(0, 100_000).map(float), st.just(math.inf))

tiers = st.sampled_from(list(Residency))
windows = st.builds(
    Window,
    cron=st.sampled_from(["0 8 * * 1-5", "*/15 * * * *", "30 2 * * *", "0 0 L 2 *", "59 23 31 12 *", "0 */6 * * *"]),
    time_zone=st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "America/St_Johns", "UTC", "Australia/Lord_Howe"]),
    duration_seconds=st.sampled_from([1, 60, 901, 36_000, 604_800]),
    residency=tiers,
)


@st.composite
def policies(draw: st.DrawFn, *, schedules: bool = True, modes: tuple[Mode, ...] = tuple(Mode)) -> Policy:
    offload = draw(st.none() | _SECONDS)
    unload = draw(st.none() | _SECONDS)
    if offload is not None and unload is not None and not unload > offload:
        unload = None
    return Policy(
        mode=draw(st.sampled_from(modes)),
        residency=draw(st.none() | tiers),
        residency_since=draw(st.none() | _ABOUT_NOW),
        residency_until=draw(st.none() | _ABOUT_NOW),
        offload_after_seconds=offload,
        unload_after_seconds=unload,
        min_resident_seconds=draw(_SECONDS),
        wake_budget_seconds=draw(_SECONDS),
        schedule=tuple(draw(st.lists(windows, max_size=2))) if schedules else (),
    )


@st.composite
def moments(draw: st.DrawFn) -> tuple[Observation, float]:
    """A replica and the time it is looked at; its own times are near that moment, absurd or unknown."""
    now = draw(NOW)
    time = st.one_of(st.floats(0, 20_000).map(lambda ago: now - ago), _ABOUT_NOW, _NO_TIME)
    observation = Observation(
        residency=draw(st.none() | tiers),
        in_flight=draw(st.one_of(st.none(), st.just(0), st.just(0), st.integers(-1, 3))),
        idle_since=draw(time),
        resident_since=draw(time),
        signal_age_seconds=draw(st.floats(0, 1000)),
        unload_refused=draw(st.booleans()),
    )
    return observation, now


@st.composite
def idle_replicas(draw: st.DrawFn) -> tuple[Observation, float]:
    """A replica about which all is known: nothing in flight, idle and woken some time ago."""
    now = draw(NOW)
    idle = draw(st.floats(0, 20_000))
    observation = Observation(
        residency=draw(tiers),
        in_flight=0,
        idle_since=now - idle,
        resident_since=now - idle - draw(st.floats(0, 20_000)),
        unload_refused=draw(st.booleans()),
    )
    return observation, now
