"""Each query of each panel has data on a real Prometheus that watched transitions, and the figures are true."""

from __future__ import annotations

import logging
import re
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest
from dormouse_contract import Residency

from dashboards.queries import SAVED_BYTE_SECONDS

from .conftest import Watched
from .test_dashboards import BOARDS, panels

# What a machine without a GPU, and a fleet without trouble, can't show: a part of the query, and why.
NO_DATA = {
    "DCGM_FI_DEV_FB_USED": "needs a GPU and NVIDIA's DCGM exporter",
    'dormouse_operator_idle_signal_missing{cluster=~"$cluster"}) == 1': "no signal is missing while all is well",
}
log_of_figures = logging.getLogger(__name__)
CHOSEN = {"cluster": ".*", "namespace": ".*", "model": ".*", "price": "2.5", "gpu_gib": "80"}
TIMES = {"__range": "5m", "__rate_interval": "5m", "__interval": "5m"}
ALL_QUERIES = [
    (name, panel["title"], target["expr"])
    for name, board in BOARDS.items()
    for panel in panels(board)
    for target in panel["targets"]
] + [
    (name, mark["name"], mark["expr"])
    for name, b in BOARDS.items()
    for mark in b.get("annotations", {}).get("list", ())
]


def filled(expression: str, values: dict[str, str] = CHOSEN | TIMES) -> str:
    return re.sub(r"\$(\w+)", lambda found: values.get(found[1], found[0]), expression)


@pytest.mark.parametrize(
    "expression",
    [expression for _, _, expression in ALL_QUERIES],
    ids=[f"{name}: {title}" for name, title, _ in ALL_QUERIES],
)
def test_a_query_of_a_panel_has_data(watched: Watched, expression: str) -> None:
    why_not = [why for part, why in NO_DATA.items() if part in expression]
    if why_not:
        assert watched.prometheus.query(filled(expression)) == [], f"it has data after all, though it {why_not[0]}"
    else:
        watched.prometheus.wait_for(filled(expression))


@pytest.mark.parametrize("variable", ["namespace", "model"])
def test_the_choices_at_the_top_are_filled(watched: Watched, variable: str) -> None:
    board = BOARDS["dormouse-fleet"]
    (query,) = [each["query"] for each in board["templating"]["list"] if each["name"] == variable]
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
    answer: dict[str, Any] = httpx.get(
        f"{watched.prometheus.url}/api/v1/label/{label}/values",
        params={"match[]": filled(selector)},
        trust_env=False,
    ).json()
    assert answer["data"]


def test_the_saving_is_the_transition_log_integrated_and_the_dashboard_shows_it(watched: Watched) -> None:
    """Three accounts of the same minute: the replica's counter, its transitions, and the dashboard's query.

    The counter and the integral of the log differ by less than 1 %. The dashboard's figure is an increase between
    scrapes: each end of the range, and each transition in it, may be off by one scrape interval.
    """
    scrape = watched.prometheus.scrape_interval_seconds
    # From an awake moment to an awake one: there the counter stands still, so that reading it takes no time.
    assert watched.ask("calm") == 200
    began, at_first = time.time(), _counted(watched)
    log: list[tuple[float, int]] = [(began, 0)]
    for _ in range(3):
        watched.until_on("calm", Residency.CPU)
        asleep = watched.replica.snapshot(watched.http, "calm")
        assert asleep.last_transition is not None
        log.append((asleep.last_transition.time, asleep.gpu_memory_released_bytes))
        watched.prometheus.wait_for(f"timestamp({COUNTER}) > {time.time() + 2 * scrape}")
        assert watched.ask("calm") == 200
        awake = watched.replica.snapshot(watched.http, "calm").last_transition
        assert awake is not None
        log.append((awake.time, 0))
    ended, at_last = time.time(), _counted(watched)
    counted = at_last - at_first
    integrated = sum(held * (until - since) for (since, held), (until, _) in pairwise([*log, (ended, 0)]))
    assert counted == pytest.approx(integrated, rel=0.01)

    values = CHOSEN | TIMES | {"model": "calm", "__range": f"{round((ended - began) * 1000)}ms"}
    watched.prometheus.wait_for(f"timestamp({COUNTER}) > {ended}")
    (shown,) = watched.prometheus.query(filled(SAVED_BYTE_SECONDS, values), at=ended)
    assert abs(shown.value - counted) <= (2 + len(log) - 1) * scrape * max(held for _, held in log)
    log_of_figures.info("counted %.0f, integrated %.0f, shown %.0f byte-seconds", counted, integrated, shown.value)


COUNTER = 'dormouse_gpu_memory_released_byte_seconds_total{model="calm"}'


def _counted(watched: Watched) -> float:
    text = watched.http.get(f"{watched.replica.metrics_url}/metrics").text
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(COUNTER))
