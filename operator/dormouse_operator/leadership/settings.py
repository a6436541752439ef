"""The times of the Lease, and which belong together."""

import re
from dataclasses import dataclass

from ..errors import SettingsError


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """How one of several operators is chosen. Off by default: an operator that is alone needs no Lease.

    name: of the Lease in the operator's namespace; operators with the same one take turns.
    duration_seconds: how long the others wait for a sign of life. Whole, since the Lease has it so.
    renew_deadline_seconds: how long after its last renewal a leader acts. What lies between the two is for
        orders that are on their way, so it must be less.
    retry_seconds: between two renewals, or two looks at another's Lease.
    """

    enabled: bool = False
    name: str = "dormouse-operator"
    duration_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.duration_seconds <= 3600:
            raise SettingsError(f"--lease-duration is {self.duration_seconds}; write whole seconds from 1 to 3600")
        if not 0.1 <= self.retry_seconds <= self.renew_deadline_seconds / 3:
            raise SettingsError(
                f"--lease-retry is {self.retry_seconds:g}; write seconds from 0.1 to a third of "
                f"--lease-renew-deadline ({self.renew_deadline_seconds:g}), so that one lost renewal changes nothing"
            )
        if not self.renew_deadline_seconds < self.duration_seconds:
            raise SettingsError(
                f"--lease-renew-deadline is {self.renew_deadline_seconds:g} and --lease-duration "
                f"{self.duration_seconds}; write a deadline that is less, so that a leader stops before another begins"
            )
        if not re.fullmatch(r"[a-z0-9]([-.a-z0-9]{0,250}[a-z0-9])?", self.name):
            raise SettingsError(
                f"--lease-name is {self.name!r}; write lower-case letters, digits and hyphens, "
                "for example dormouse-operator"
            )

    @property
    def call_timeout_seconds(self) -> float:
        """Two calls in a row may hang, and there is still time for a third."""
        return self.renew_deadline_seconds / 3
