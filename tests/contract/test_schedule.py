"""Schedule windows in the user's own time zone, over both changes of daylight saving time."""

from calendar import isleap
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from dormouse_contract import Action, InvalidSchedule, Observation, Policy, Residency, Window, plan
from hypothesis import given, settings
from hypothesis import strategies as st

BERLIN = ZoneInfo("Europe/Berlin")
GPU = Residency.GPU


def berlin(*when: int, fold: int = 0) -> float:
    return datetime(*when, tzinfo=BERLIN, fold=fold).timestamp()  # type: ignore[arg-type,misc]


def daily(cron: str, seconds: int) -> Window:
    return Window(cron, "Europe/Berlin", seconds, GPU)


@pytest.mark.parametrize("day", [28, 29, 30, 31], ids=lambda day: f"{day} March")
def test_a_morning_window_opens_at_the_same_local_time_before_and_after_spring(day: int) -> None:
    window = daily("0 8 * * *", 3600)
    opens = berlin(2026, 3, day, 8)
    assert window.open_until(opens - 1) is None
    assert window.open_until(opens) == opens + 3600
    assert window.open_until(opens + 3599) == opens + 3600
    assert window.open_until(opens + 3600) is None
    assert window.opens_after(opens - 7200) == opens


@pytest.mark.parametrize("day", [24, 25, 26])
def test_a_morning_window_opens_at_the_same_local_time_before_and_after_autumn(day: int) -> None:
    window = daily("0 8 * * *", 3600)
    opens = berlin(2026, 10, day, 8)
    assert window.open_until(opens) == opens + 3600
    assert window.opens_after(opens - 1) == opens


def test_a_window_over_the_hour_that_is_skipped_lasts_its_whole_duration() -> None:
    """29 March 2026: 02:00 becomes 03:00. A window is so many seconds, not so many figures on a clock."""
    window = daily("30 1 * * *", 3600)
    opens = berlin(2026, 3, 29, 1, 30)
    assert window.open_until(opens + 3599) == opens + 3600 == berlin(2026, 3, 29, 3, 30)


def test_a_time_that_does_not_exist_in_spring_is_kept_close_by() -> None:
    """02:30 does not exist on 29 March 2026: the window opens within the hour all the same, once."""
    window = daily("30 2 * * *", 600)
    opens = window.opens_after(berlin(2026, 3, 29, 0))
    assert opens is not None
    assert abs(opens - berlin(2026, 3, 29, 3)) <= 3600
    assert window.opens_after(opens) == berlin(2026, 3, 30, 2, 30)


def test_a_time_that_comes_twice_in_autumn_opens_the_window_once() -> None:
    """25 October 2026: 02:30 comes in summer time and again in winter time."""
    window = daily("30 2 * * *", 600)
    opens = window.opens_after(berlin(2026, 10, 25, 0))
    assert opens in (berlin(2026, 10, 25, 2, 30), berlin(2026, 10, 25, 2, 30, fold=1))
    assert opens is not None
    assert window.opens_after(opens) == berlin(2026, 10, 26, 2, 30)
    assert window.open_until(opens + 599) == opens + 600


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(berlin(2026, 3, 29, 1, 59), id="before spring forward"),
        pytest.param(berlin(2026, 3, 29, 3, 0), id="after spring forward"),
        pytest.param(berlin(2026, 10, 25, 2, 15), id="first 02:15"),
        pytest.param(berlin(2026, 10, 25, 2, 15, fold=1), id="second 02:15"),
        pytest.param(berlin(2026, 10, 25, 3, 5), id="after fall back"),
    ],
)
def test_an_hourly_window_is_open_ten_minutes_in_each_real_hour(now: float) -> None:
    window = daily("0 * * * *", 600)
    into_the_hour = now % 3600
    assert (window.open_until(now) is not None) is (into_the_hour < 600)


def test_overlapping_firings_join() -> None:
    window = daily("*/10 * * * *", 900)
    now = berlin(2026, 6, 1, 12, 5)
    assert window.open_until(now) == berlin(2026, 6, 1, 12, 0) + 900


def test_a_pre_wake_is_ordered_when_the_window_opens_and_not_before() -> None:
    policy = Policy(schedule=(Window("0 8 * * 1-5", "Asia/Shanghai", 36_000, GPU),), offload_after_seconds=600)
    monday = datetime(2026, 11, 23, 8, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()
    asleep = Observation(Residency.CPU, 0, monday - 50_000)
    before = plan(policy, asleep, monday - 1)
    assert (before.action, before.revisit_at) == (Action.HOLD, monday)
    assert plan(policy, asleep, monday).action is Action.ORDER


@pytest.mark.parametrize(
    ("cron", "zone", "seconds", "says"),
    [
        ("0 8 * *", "Europe/Berlin", 60, "write five"),
        ("0 8 * * 1-5 *", "Europe/Berlin", 60, "write five"),
        ("", "Europe/Berlin", 60, "write five"),
        ("61 8 * * *", "Europe/Berlin", 60, "cron '61 8"),
        ("a b c d e", "Europe/Berlin", 60, "cron 'a b"),
        ("0 8 30 2 *", "Europe/Berlin", 60, "never fires|cron '0 8 30 2"),
        ("0 8 * * *", "Europe/Atlantis", 60, "is not known"),
        ("0 8 * * *", "../../etc/passwd", 60, "IANA name"),
        ("0 8 * * *", "", 60, "IANA name"),
        ("0 8 * * *", "+01:00", 60, "IANA name"),
        ("0 8 * * *", "+08:00", 60, "IANA name, for example Europe/Berlin"),
        ("0 8 * * *", "UTC+8", 60, "is not known"),
        ("0 8 * * *", "Europe", 60, "is not known"),
        ("0 8 * * *", "a/../../b", 60, "is not known"),
        ("0 8 * * *", "Europe/Berlin", 0, "durationSeconds"),
        ("0 8 * * *", "Europe/Berlin", 604_801, "durationSeconds"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(cron: str, zone: str, seconds: int, says: str) -> None:
    with pytest.raises(InvalidSchedule, match=says):
        Window(cron, zone, seconds, GPU)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        pytest.param("Asia/Kathmandu", (2026, 7, 1), id="45 minutes"),
        pytest.param("Asia/Kolkata", (2026, 7, 1), id="30 minutes"),
        pytest.param("America/St_Johns", (2026, 3, 8), id="30 minutes, spring"),
        pytest.param("America/St_Johns", (2026, 11, 1), id="30 minutes, autumn"),
        pytest.param("Pacific/Chatham", (2026, 9, 27), id="45 minutes, spring"),
        pytest.param("Pacific/Chatham", (2026, 4, 5), id="45 minutes, autumn"),
        pytest.param("Australia/Lord_Howe", (2026, 10, 4), id="clock changes by half an hour, spring"),
        pytest.param("Australia/Lord_Howe", (2026, 4, 5), id="clock changes by half an hour, autumn"),
    ],
)
def test_odd_zones_open_at_their_own_local_time(zone: str, day: tuple[int, int, int]) -> None:
    opens = datetime(*day, 8, 15, tzinfo=ZoneInfo(zone)).timestamp()
    window = Window("15 8 * * *", zone, 600, GPU)
    assert window.open_until(opens - 1) is None
    assert window.open_until(opens) == opens + 600
    assert window.opens_after(opens - 12 * 3600) == opens


@pytest.mark.parametrize(
    ("month", "day"), [pytest.param(3, 28, id="spring"), pytest.param(10, 24, id="autumn"), pytest.param(6, 1, id="-")]
)
def test_a_window_over_midnight_and_over_the_change_lasts_its_whole_duration(month: int, day: int) -> None:
    window = daily("0 22 * * *", 8 * 3600)
    opens = berlin(2026, month, day, 22)
    for after in (0, 3 * 3600, 8 * 3600 - 1):
        assert window.open_until(opens + after) == opens + 8 * 3600
    assert window.open_until(opens + 8 * 3600) is None


def test_overlapping_windows_hold_the_highest_until_each_closes() -> None:
    morning = berlin(2026, 6, 1, 8)
    schedule = (
        Window("0 8 * * *", "Europe/Berlin", 7200, Residency.CPU),
        Window("0 9 * * *", "Europe/Berlin", 600, GPU),
    )
    policy = Policy(schedule=schedule, offload_after_seconds=1, unload_after_seconds=2, min_resident_seconds=0)
    asleep, awake = Observation(Residency.UNLOADED, 0, morning - 9000), Observation(GPU, 0, morning - 9000)
    assert plan(policy, asleep, morning).desired is Residency.CPU
    assert plan(policy, asleep, morning + 3600).desired is GPU
    assert plan(policy, awake, morning + 4200).desired is Residency.CPU
    assert plan(policy, awake, morning + 7200).desired is Residency.UNLOADED


def test_a_fall_that_a_window_stops_says_both_and_a_window_that_can_t_act_says_what_it_waits_for() -> None:
    now = berlin(2026, 6, 1, 9)
    policy = Policy(schedule=(Window("0 8 * * *", "Europe/Berlin", 7200, Residency.CPU),), unload_after_seconds=60)
    falls = plan(policy, Observation(GPU, 0, now - 100, signal_age_seconds=4), now)
    assert falls.reason == ("idle 100 s ≥ 60 s; signal 4 s old; in flight 0; a schedule window holds at least CPU")
    blind = plan(policy, Observation(None, None, None, unknown_because="no sample for 90 s"), now)
    assert (blind.action, blind.reason) == (
        Action.HOLD,
        "a schedule window holds at least CPU; waits: no sample for 90 s",
    )


def test_a_window_is_closed_until_the_moment_at_which_it_opens() -> None:
    window, opens = daily("0 8 * * *", 60), berlin(2026, 1, 5, 8)
    assert window.open_until(opens - 0.001) is None
    assert window.open_until(opens) == opens + 60


_FIELDS = {
    "day": st.sampled_from(["*", "*/2", "*/31", "1", "28", "29", "30", "31", "30,31", "L", "LW", "15-20/5"]),
    "month": st.sampled_from(["*", "2", "2,4", "12", "1,3", "*/5", "4,6,9,11"]),
    "weekday": st.sampled_from(["*", "1", "0", "7", "1-5", "1#1", "3#5", "0#5", "7#5", "5L", "0L", "1#5,2#5,3#5"]),
}


@settings(max_examples=300)
@given(**_FIELDS)
def test_just_what_fires_in_every_year_is_a_schedule(day: str, month: str, weekday: str) -> None:
    cron = f"0 0 {day} {month} {weekday}"
    try:
        fields = CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        with pytest.raises(InvalidSchedule):
            daily(cron, 60)
        return
    # All calendars come within 28 years.
    years = [
        any(
            fields.match_day(date(year, 1, 1) + timedelta(days=number))
            and (date(year, 1, 1) + timedelta(days=number)).month in fields.months
            for number in range(366 if isleap(year) else 365)
        )
        for year in range(2001, 2029)
    ]
    if all(years):
        assert daily(cron, 60).cron == cron
    else:
        with pytest.raises(InvalidSchedule, match="in every year" if any(years) else "never fires"):
            daily(cron, 60)


def test_a_calendar_is_searched_once_until_the_window_opens_or_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    opens = berlin(2026, 1, 5, 8)
    policy = Policy(schedule=tuple(daily("0 8 * * *", 3600) for _ in range(32)), offload_after_seconds=60)
    searches = 0
    search = CronSim.__next__

    def counted(cron: CronSim) -> datetime:
        nonlocal searches
        searches += 1
        return search(cron)

    monkeypatch.setattr(CronSim, "__next__", counted)
    for replica in range(500):
        plan(policy, Observation(GPU, 0, opens - 9000), opens - 100 + 0.1 * replica)
    assert searches == 2 * 32
    for replica in range(500):
        assert plan(policy, Observation(GPU, 0, opens - 9000), opens + replica).desired is GPU
    assert searches == 4 * 32
    assert plan(policy, Observation(GPU, 0, opens - 9000), opens + 3600).desired is Residency.CPU


@given(st.lists(st.floats(0, 3 * 86_400), min_size=1, max_size=30))
def test_what_a_window_remembers_is_what_a_new_one_finds(moments: list[float]) -> None:
    """Clocks go back as well."""
    remembers = daily("*/20 1-4 * * *", 900)
    for seconds in moments:
        now, new = berlin(2026, 3, 28) + seconds, daily("*/20 1-4 * * *", 900)
        assert (remembers.open_until(now), remembers.opens_after(now)) == (new.open_until(now), new.opens_after(now))
