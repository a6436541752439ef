"""Schedule windows: from a cron time on, for a duration, in the user's own time zone.

Each replica of a ManagedModel asks for its windows at each look, and a search through the calendar is dear; so a window
remembers what it found until that changes. A cron that would have to be searched for years is refused.
"""

import math
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from .residency import Residency

_LONGEST_WINDOW_SECONDS = 7 * 24 * 3600
# Every year begins on one of seven weekdays and has 365 or 366 days: these are all the calendars that there are.
_EACH_CALENDAR = (2001, 2002, 2003, 2005, 2006, 2009, 2010, 2004, 2008, 2012, 2016, 2020, 2024, 2028)
# Of each of them, what the first day of each month is (Monday is 0), and how many days it has.
_MONTHS = tuple(tuple(monthrange(year, month) for month in range(1, 13)) for year in _EACH_CALENDAR)


class InvalidSchedule(ValueError):
    """A window that parses as YAML but not as a time: the message names the field and what to write."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which at least `residency` is held (pre-wake).

    `cron` has five fields and is read in `time_zone` (IANA name); each firing opens the window for
    `duration_seconds`. Raises `InvalidSchedule` when there is a year in which the cron does not fire, or the zone is
    unknown.
    """

    cron: str
    time_zone: str
    duration_seconds: int
    residency: Residency
    _found: "_Found | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.duration_seconds <= _LONGEST_WINDOW_SECONDS:
            raise InvalidSchedule(
                f"durationSeconds is {self.duration_seconds}; write 1 to {_LONGEST_WINDOW_SECONDS} (a week)"
            )
        if len(self.cron.split()) != 5:
            raise InvalidSchedule(
                f"cron {self.cron!r} has {len(self.cron.split())} fields; write five: "
                "minute hour day-of-month month day-of-week"
            )
        if not self.time_zone[:1].isalpha():
            raise InvalidSchedule(f"timeZone {self.time_zone!r}: write an IANA name, for example Europe/Berlin")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidSchedule(
                f"timeZone {self.time_zone!r} is not known; write an IANA name, for example Europe/Berlin"
            ) from error
        fault = _fault_of(self.cron)
        if fault:
            raise InvalidSchedule(f"cron {self.cron!r} {fault}")

    def open_until(self, now: float) -> float | None:
        """Unix time at which the window that is open at `now` closes; None when it is closed.

        Overlapping firings of one window join: the latest decides.
        """
        return self._at(now).open_until

    def opens_after(self, now: float) -> float | None:
        """Unix time of the next firing after `now`; None when there is none any more."""
        return self._at(now).opens_after

    def _at(self, now: float) -> "_Found":
        found = self._found
        if found is None or not found.since <= now < found.until:
            found = self._search(now)
            # Of one value for all threads: two that search at once find the same.
            object.__setattr__(self, "_found", found)
        return found

    def _search(self, now: float) -> "_Found":
        zone = ZoneInfo(self.time_zone)
        # CronSim looks at times strictly before its start, so begin a second later to include `now`. What fires within
        # that second is still to come.
        start = datetime.fromtimestamp(now, zone) + timedelta(seconds=1)
        firings = (each.timestamp() for each in CronSim(self.cron, start, reverse=True))
        opened = next((at for at in firings if at <= now), None)
        closes = None if opened is None else opened + self.duration_seconds
        open_until = closes if closes is not None and closes > now else None
        following = next(CronSim(self.cron, datetime.fromtimestamp(now, zone)), None)
        opens_after = None if following is None else following.timestamp()
        return _Found(now, open_until, opens_after)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search at `since` found, which holds before `until`."""

    since: float
    open_until: float | None
    opens_after: float | None

    @property
    def until(self) -> float:
        return min(at for at in (self.open_until, self.opens_after, math.inf) if at is not None)


@lru_cache(maxsize=4096)
def _fault_of(cron: str) -> str:
    """Why it is no time that windows can open at, to be read after the cron; empty when it is one."""
    try:
        fields = CronSim(cron, datetime(2024, 1, 1))  # noqa: DTZ001 - only its fields are used
    except CronSimError as error:
        return f"is no time: {error}"
    days = cache(partial(_days, fields))
    fires = [any(days(*calendar[month - 1]) for month in fields.months) for calendar in _MONTHS]
    if not any(fires):
        return "never fires; choose a day that exists"
    if not all(fires):
        return "does not fire in every year; choose a day that each year has"
    return ""


def _days(fields: CronSim, first_weekday: int, length: int) -> int:
    """The days of a month on which it fires, the first one as bit 0: CronSim's rules without a walk over the days."""
    by_date = sum(1 << day - 1 for day in fields.days if 0 < day <= length)
    if CronSim.LAST in fields.days:
        by_date |= 1 << length - 1
    if CronSim.LAST_WEEKDAY in fields.days:
        last_weekday = (first_weekday + length - 1) % 7
        by_date |= 1 << length - 1 - max(0, last_weekday - 4)
    by_weekday = 0
    for said in fields.weekdays:
        weekday, which = said if isinstance(said, tuple) else (said, None)
        # In cron Monday is 1, and Sunday 0 as well as 7.
        days = range((weekday - 1 - first_weekday) % 7, length, 7)
        chosen = days if which is None else days[-1:] if which == CronSim.LAST else days[which - 1 : which]
        by_weekday |= sum(1 << day for day in chosen)
    return by_date & by_weekday if fields.day_and else by_date | by_weekday
