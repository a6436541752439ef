"""Schedule windows: from a cron time on, for a duration, in the user's own time zone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from .residency import Residency

# A cron that has not fired within this span (29 February takes up to 8 years) makes no sense to us.
_LONGEST_WINDOW_SECONDS = 7 * 24 * 3600


class InvalidSchedule(ValueError):
    """A window that parses as YAML but not as a time: the message names the field and what to write."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which at least `residency` is held (pre-wake).

    `cron` has five fields and is read in `time_zone` (IANA name); each firing opens the window for
    `duration_seconds`. Raises `InvalidSchedule` when the cron never fires or the zone is unknown.
    """

    cron: str
    time_zone: str
    duration_seconds: int
    residency: Residency

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
            zone = ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidSchedule(
                f"timeZone {self.time_zone!r} is not known; write an IANA name, for example Europe/Berlin"
            ) from error
        try:
            next(CronSim(self.cron, datetime(2024, 1, 1, tzinfo=zone)))
        except CronSimError as error:
            raise InvalidSchedule(f"cron {self.cron!r}: {error}") from error
        except StopIteration as error:
            raise InvalidSchedule(f"cron {self.cron!r} never fires; choose a day that exists") from error

    def open_until(self, now: float) -> float | None:
        """Unix time at which the window that is open at `now` closes; None when it is closed.

        Overlapping firings of one window join: the latest decides.
        """
        # CronSim looks at times strictly before its start, so begin a second later to include `now`. What fires within
        # that second is still to come.
        start = datetime.fromtimestamp(now, ZoneInfo(self.time_zone)) + timedelta(seconds=1)
        firings = (each.timestamp() for each in CronSim(self.cron, start, reverse=True))
        opened = next((at for at in firings if at <= now), None)
        if opened is None:
            return None
        closes = opened + self.duration_seconds
        return closes if closes > now else None

    def opens_after(self, now: float) -> float | None:
        """Unix time of the next firing after `now`; None when there is none any more."""
        following = next(CronSim(self.cron, datetime.fromtimestamp(now, ZoneInfo(self.time_zone))), None)
        return None if following is None else following.timestamp()
