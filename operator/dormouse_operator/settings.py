"""What can be set, with units and defaults; flags beat the environment, which beats the default."""

from dataclasses import dataclass, field
from pathlib import Path

from dormouse_contract.defaults import SCRAPE_INTERVAL_SECONDS, TICK_SECONDS
from dormouse_contract.ports import Port
from dormouse_prometheus.settings import PrometheusSettings

from .cluster.scope import Scope
from .errors import SettingsError
from .keys.settings import KeySettings
from .leadership.settings import LeaseSettings


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
    scrape_interval_seconds: float = SCRAPE_INTERVAL_SECONDS
    tick_seconds: float = TICK_SECONDS
    namespaces: tuple[str, ...] = ()
    managed_model_selector: str = ""
    direct_reading_after_seconds: float | None = None
    metrics_host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from outside; only reading
    metrics_port: int = Port.OPERATOR
    control_port: int = Port.CONTROL
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
            raise SettingsError(
                f"--control-port is 0; write the port on which the sidecars listen, usually {Port.CONTROL}"
            )
        for flag, port in (("--metrics-port", self.metrics_port), ("--control-port", self.control_port)):
            if not 0 <= port <= 65535:
                raise SettingsError(f"{flag} is {port}; write a port from 0 to 65535")

    @property
    def scope(self) -> Scope:
        return Scope(self.namespaces, self.managed_model_selector)

    @property
    def order_settles_seconds(self) -> float:
        """What an order did shows in Prometheus after so long at most."""
        return self.scrape_interval_seconds + self.tick_seconds

    @property
    def trouble_settles_seconds(self) -> float:
        """A pod that starts is unreachable, unscraped and without trust for so long, which is no news."""
        return 4 * self.tick_seconds

    @property
    def stalled_after_seconds(self) -> float:
        """Without a finished pass for so long, we are not alive any more."""
        return max(60.0, 10 * self.tick_seconds)
