"""The benchmark of the operator runs on a small fleet: right in shape, and no write while nothing changes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.operator.bad import Bad, kinds
from benchmarks.operator.one_size import measure
from benchmarks.operator.operator_process import OperatorProcess
from benchmarks.operator.page import table
from benchmarks.operator.phases import in_sync

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
    assert 0 < figures["initial_sync_seconds"] < figures["first_status_seconds"] <= figures["settled_seconds"] + 1
    assert figures["idle_to_order_seconds_p99_alone"] is None, "there is nobody to be without"
    assert 5000 < figures["pod_bytes"] < 7500
    page = table({"machine": "m", "load_average": 1.0, "tick_seconds_set": 1.0, "sizes": [figures]})
    assert "100 models" in page


def test_the_honest_models_are_measured_with_one_bad_of_each_kind_and_without_them() -> None:
    """On the whole way: each kind is made, served and deleted, and the operator stays what it is."""
    figures = asyncio.run(measure(60, 2.0, lambda _: None, bad=list(Bad))).as_dict()
    assert (figures["models"], figures["bad"]) == (60, len(Bad))
    assert figures["idle_orders"] == round(0.1 * (60 - len(Bad)))
    assert figures["api_writes_idle"] == 0, "about the honest ones"
    assert figures["idle_to_order_seconds_p99_alone"] > 0
    assert figures["unhealthy"] == 0


def test_bad_tenants_take_turns_in_being_bad() -> None:
    assert kinds(0) == []
    assert Counter(kinds(2 * len(Bad))) == dict.fromkeys(Bad, 2)


class Said(OperatorProcess):
    """An operator that said this in its log."""

    def __init__(self, said: str) -> None:
        self.started_at = time.monotonic()
        self.said = said

    def log(self) -> str:
        return self.said


async def test_in_sync_is_when_the_whole_fleet_is_there_and_not_when_something_was_said() -> None:
    assert await in_sync(Said("Watching 100 ManagedModels and 99 pods"), 100, 99) < 5
    with pytest.raises(RuntimeError, match=r"took \(0, 0\) for all"):
        await in_sync(Said("Watching 0 ManagedModels and 0 pods"), 100, 99)


def test_the_log_of_another_operator_is_never_read(tmp_path: Path) -> None:
    log = tmp_path / "operator.log"
    log.write_text("Watching 100 ManagedModels and 100 pods")
    with pytest.raises(FileExistsError, match="a log of its own"):
        OperatorProcess(tmp_path, "http://127.0.0.1:1", log, seconds=1.0, control_port=1, flags=[])
