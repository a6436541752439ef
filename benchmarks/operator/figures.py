"""What is measured of one fleet. A change of a name here is one of the page and of who reads operator.json."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of writes and times are about the honest models; CPU and memory are the operator's with all of them.

    models: all ManagedModels, `bad` of them included.
    first_status_seconds: from the start until each has a status, and settled_seconds until the last write.
    steady_cpu_percent: of one core, over `steady_seconds` in which nothing changes.
    rss_mb: at the end of that; peak_rss_mb: the most from the start.
    idle_cpu_percent: of one core while a share of the fleet becomes idle per tick.
    api_writes_idle: in the steady time; the Lease and watches are in no count.
    idle_to_order_seconds_…_alone: the same once the bad ones were deleted; None when there were none.
    unhealthy: how often /healthz said something else than 200, asked every five seconds from the first sync on.
    """

    models: int
    bad: int
    pod_bytes: int
    initial_sync_seconds: float
    first_status_seconds: float
    first_status_seconds_p50: float
    settled_seconds: float
    rss_mb: float
    peak_rss_mb: float
    steady_seconds: float
    steady_cpu_percent: float
    tick_seconds: float
    api_requests_per_minute_idle: float
    api_writes_idle: int
    idle_cpu_percent: float
    idle_orders: int
    idle_to_order_seconds_p50: float
    idle_to_order_seconds_p99: float
    idle_to_order_seconds_p50_alone: float | None
    idle_to_order_seconds_p99_alone: float | None
    cpu_seconds: dict[str, float]
    unhealthy: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
