"""What can be set, with units and defaults; flags beat the environment, which beats the default."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from .errors import SettingsError


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
class Settings:
    """kubeconfig: None means the service account of the pod that we run in.

    prometheus_url: what comes before `/api/v1`.
    scrape_interval_seconds: how often Prometheus scrapes the sidecars. Freshness and the line between
        local timers and orders follow from it, so it must not be less than the truth.
    tick_seconds: how often the fleet is looked at when nothing happens.
    namespaces: empty means the whole cluster; a list needs only Roles in these.
    operator_namespace: where the key's Secret is, and the Lease.
    """

    kubeconfig: Path | None
    prometheus_url: str
    operator_namespace: str
    scrape_interval_seconds: float = 15.0
    tick_seconds: float = 15.0
    namespaces: tuple[str, ...] = ()
    metrics_host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from outside; only reading
    metrics_port: int = 9744
    control_port: int = 7443
    lease: LeaseSettings = field(default_factory=LeaseSettings)

    def __post_init__(self) -> None:
        for flag, value in (
            ("--scrape-interval", self.scrape_interval_seconds),
            ("--tick", self.tick_seconds),
        ):
            if not 0.1 <= value <= 3600:
                raise SettingsError(f"{flag} is {value:g}; write seconds from 0.1 to 3600")
        if not self.prometheus_url.startswith(("http://", "https://")):
            raise SettingsError(
                f"--prometheus-url is {self.prometheus_url!r}; write the address of Prometheus, "
                "for example http://prometheus.monitoring:9090"
            )
        if self.control_port == 0:
            raise SettingsError("--control-port is 0; write the port on which the sidecars listen, usually 7443")
        for flag, port in (("--metrics-port", self.metrics_port), ("--control-port", self.control_port)):
            if not 0 <= port <= 65535:
                raise SettingsError(f"{flag} is {port}; write a port from 0 to 65535")

    @property
    def stalled_after_seconds(self) -> float:
        """Without a finished pass for so long, we are not alive any more."""
        return max(60.0, 10 * self.tick_seconds)
