"""The console's figures are the dashboards', asked of a real Prometheus at the same moment."""

from __future__ import annotations

import re
import time

import pytest
from dormouse_console.promql import Scope

from dashboards import queries

from .conftest import NAMESPACE, OTHER, World

RANGE_SECONDS = 900


def of_all(dashboard: str) -> str:
    """A dashboard's query with every variable at All, over the range."""
    return re.sub(r"\$(cluster|namespace|model)", ".*", dashboard).replace("$__range", f"{RANGE_SECONDS}s")


@pytest.mark.parametrize(
    ("console", "dashboard"),
    [
        pytest.param(Scope().held(), queries.HELD, id="held"),
        pytest.param(Scope().released(), queries.RELEASED, id="released"),
        pytest.param(Scope().saved_byte_seconds(RANGE_SECONDS), queries.SAVED_BYTE_SECONDS, id="saved"),
    ],
)
def test_a_figure_is_the_one_that_the_dashboard_shows(world: World, console: str, dashboard: str) -> None:
    prometheus = world.stage.cluster.prometheus
    # An increase needs two scrapes.
    prometheus.wait_for(console)
    now = time.time()
    (ours,), (theirs,) = prometheus.query(console, at=now), prometheus.query(of_all(dashboard), at=now)
    assert ours.value == theirs.value


def test_a_scope_holds_its_own_namespace_and_no_other(world: World) -> None:
    prometheus = world.stage.cluster.prometheus
    assert prometheus.query(Scope(NAMESPACE).held())
    assert prometheus.query(Scope(OTHER).held()) == []
