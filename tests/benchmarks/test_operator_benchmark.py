"""The benchmark of the operator runs on a small fleet: right in shape, and no write while nothing changes."""

from __future__ import annotations

import asyncio

from benchmarks.operator.one_size import measure
from benchmarks.operator.page import table

CONTRACT = {
    "models",
    "initial_sync_seconds",
    "rss_mb",
    "steady_cpu_percent",
    "tick_seconds",
    "api_requests_per_minute_idle",
    "idle_to_order_seconds_p50",
    "idle_to_order_seconds_p99",
}


def test_a_small_fleet_is_measured_and_not_written_to_while_nothing_changes() -> None:
    figures = asyncio.run(measure(100, 2.0, lambda _: None)).as_dict()
    assert figures.keys() >= CONTRACT
    assert figures["models"] == 100
    assert figures["api_writes_idle"] == 0
    assert figures["idle_orders"] == 10
    assert figures["idle_to_order_seconds_p50"] > 0, "no order comes before its time"
    assert 5000 < figures["pod_bytes"] < 7500
    page = table({"machine": "m", "load_average": 1.0, "tick_seconds_set": 1.0, "sizes": [figures]})
    assert "100 models" in page
