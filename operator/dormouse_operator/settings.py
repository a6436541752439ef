"""What can be set, with units and defaults; flags beat the environment, which beats the default."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from .errors import SettingsError
from .prometheus_settings import PrometheusSettings
from .rotation import DAY_SECONDS, Rules


class KeyOrigin(StrEnum):
    OPERATOR = "operator"
    EXISTING_SECRET = "existingSecret"  # noqa: S105 - a word, not a secret
    CERT_MANAGER = "certManager"


@dataclass(frozen=True, slots=True)
class KeySettings:
    """source: who makes the operator's key.
    folder: where the Secret with `tls.crt` and `tls.key` is mounted; not read when we make the key.
    lifetime_seconds: of a key that we make; its successor is made with a third of that left.
    overlap_seconds: how long a new certificate is published beside the old one at most before it is used.
        Less than the kubelet takes (about a minute) means refused orders.
    """

    source: KeyOrigin = KeyOrigin.OPERATOR
    folder: Path = Path("/etc/dormouse/key")
    lifetime_seconds: float = 365.0 * DAY_SECONDS
    overlap_seconds: float = 600.0

    def __post_init__(self) -> None:
        if not self.folder.is_absolute():
            raise SettingsError(f"--key-folder is {str(self.folder)!r}; write an absolute path")
        if not 60 <= self.lifetime_seconds <= 3650 * DAY_SECONDS:
            raise SettingsError(
                f"--key-lifetime is {self.lifetime_seconds:g}; write seconds from 60 to {3650 * DAY_SECONDS}"
            )
        if not 1 <= self.overlap_seconds <= DAY_SECONDS:
            raise SettingsError(f"--key-overlap is {self.overlap_seconds:g}; write seconds from 1 to {DAY_SECONDS}")
        # A third of the lifetime is left when the successor is made; half of that is for outages.
        if self.overlap_seconds > self.lifetime_seconds / 6:
            raise SettingsError(
                f"--key-overlap is {self.overlap_seconds:g} and --key-lifetime {self.lifetime_seconds:g}; "
                "the overlap may be a sixth of the lifetime at most, or a key would expire before its successor is used"
            )

    @property
    def rules(self) -> Rules:
        return Rules(self.lifetime_seconds, self.overlap_seconds)


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


@dataclass(frozen=True, slots=True)
class Scope:
    """What an operator is responsible for. namespaces: empty for the whole cluster.

    selector: of the ManagedModels, in the API server's syntax; empty for all of them. Pods have none.
    """

    namespaces: tuple[str, ...] = ()
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """kubeconfig: None means the service account of the pod that we run in.

    scrape_interval_seconds: how often Prometheus scrapes the sidecars. Freshness and the line between
        local timers and orders follow from it, so it must not be less than the truth.
    tick_seconds: how often the fleet is looked at when nothing happens.
    namespaces: empty means the whole cluster; a list needs only Roles in these.
    managed_model_selector: only the ManagedModels with these labels, in the API server's syntax; empty for all.
    direct_reading_after_seconds: after so long without Prometheus the sidecars are asked themselves; None for never.
    operator_namespace: where the key's Secret is, and the Lease.
    key: where the operator's key comes from and how long it lasts.
    """

    kubeconfig: Path | None
    prometheus: PrometheusSettings
    operator_namespace: str
    scrape_interval_seconds: float = 15.0
    tick_seconds: float = 15.0
    namespaces: tuple[str, ...] = ()
    managed_model_selector: str = ""
    direct_reading_after_seconds: float | None = None
    metrics_host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from outside; only reading
    metrics_port: int = 9744
    control_port: int = 7443
    key: KeySettings = field(default_factory=KeySettings)
    lease: LeaseSettings = field(default_factory=LeaseSettings)

    def __post_init__(self) -> None:
        for flag, value in (
            ("--scrape-interval", self.scrape_interval_seconds),
            ("--tick", self.tick_seconds),
        ):
            if not 0.1 <= value <= 3600:
                raise SettingsError(f"{flag} is {value:g}; write seconds from 0.1 to 3600")
        if self.direct_reading_after_seconds is not None and not self.direct_reading_after_seconds >= 0:
            raise SettingsError(
                f"--direct-reading-after is {self.direct_reading_after_seconds:g}; write seconds, or never"
            )
        if self.control_port == 0:
            raise SettingsError("--control-port is 0; write the port on which the sidecars listen, usually 7443")
        for flag, port in (("--metrics-port", self.metrics_port), ("--control-port", self.control_port)):
            if not 0 <= port <= 65535:
                raise SettingsError(f"{flag} is {port}; write a port from 0 to 65535")

    @property
    def scope(self) -> Scope:
        return Scope(self.namespaces, self.managed_model_selector)

    @property
    def stalled_after_seconds(self) -> float:
        """Without a finished pass for so long, we are not alive any more."""
        return max(60.0, 10 * self.tick_seconds)
