"""The flags about the Lease, and the settings made of them."""

import argparse

from ..errors import SettingsError
from ..flags import AddFlag, number, text_of
from .settings import LeaseSettings

DEFAULTS = LeaseSettings()


def add_lease_flags(flag: AddFlag) -> None:
    flag(
        "--lease",
        "DORMOUSE_LEASE",
        "on" if DEFAULTS.enabled else "off",
        "on: of several operators, the one that holds the Lease acts; or off",
    )
    flag("--lease-name", "DORMOUSE_LEASE_NAME", DEFAULTS.name, "name of the Lease, in the operator's namespace")
    flag(
        "--lease-duration",
        "DORMOUSE_LEASE_DURATION",
        text_of(DEFAULTS.duration_seconds),
        "seconds without a renewal until another takes over",
    )
    flag(
        "--lease-renew-deadline",
        "DORMOUSE_LEASE_RENEW_DEADLINE",
        text_of(DEFAULTS.renew_deadline_seconds),
        "seconds after its last renewal a leader acts",
    )
    flag("--lease-retry", "DORMOUSE_LEASE_RETRY", text_of(DEFAULTS.retry_seconds), "seconds between two renewals")


def lease_settings(given: argparse.Namespace) -> LeaseSettings:
    """Raises SettingsError for what makes no sense."""
    if given.lease not in ("on", "off"):
        raise SettingsError(f"--lease is {given.lease!r}; write on or off")
    duration = number("--lease-duration", given.lease_duration)
    if not duration.is_integer():
        raise SettingsError(f"--lease-duration is {given.lease_duration}; write whole seconds, as the Lease has them")
    return LeaseSettings(
        enabled=given.lease == "on",
        name=given.lease_name,
        duration_seconds=int(duration),
        renew_deadline_seconds=number("--lease-renew-deadline", given.lease_renew_deadline),
        retry_seconds=number("--lease-retry", given.lease_retry),
    )
