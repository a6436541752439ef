"""Asks Prometheus for the idle signal of the fleet.

One query per metric for the whole fleet, all evaluated at one instant, so that a reading is one scrape and
not a mixture. An instant query answers samples that are up to five minutes old under the time of the
evaluation; so the age is asked for as well (`timestamp(…)`), and it is Prometheus' clock on both sides.

Three clocks meet in an idle time: the pod's (since when), Prometheus' and ours (now). A pod that is behind
or an operator that is ahead makes a model look idle for longer than it is; the replica then refuses the
order by its own clock. So that we don't order in vain, the earlier of Prometheus' clock and ours counts as
now, and a time that lies ahead of its own scrape is not believed.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dormouse_contract import metrics
from dormouse_prometheus.api import Prometheus
from dormouse_prometheus.collector import without_collector
from dormouse_prometheus.errors import PrometheusUnavailable

from .join import Column, Join
from .signal import SKEW_SECONDS, IdleSignal, failed

# Each answer may be 3 MB, and is reduced when it is there.
QUERIES_AT_ONCE = 2
# With the place for the selector of labels.
QUERIES = {
    "in_flight": f"{metrics.IN_FLIGHT.name}%s",
    "idle_since": f"{metrics.IDLE_SINCE.name}%s",
    "sampled_at": f"timestamp({metrics.IDLE_SINCE.name}%s)",
    "last_transition": f"{metrics.LAST_TRANSITION.name}%s",
    "released": f"{metrics.RELEASED.name}%s",
    "gpu_memory": f"{metrics.GPU_MEMORY.name}%s",
    # Few replicas move at a time, so this is all but empty.
    "moving_since": f"{metrics.TRANSITION_START.name}%s > 0",
}


async def read_idle_signal(
    prometheus: Prometheus, *, namespaces: Sequence[str] = (), clock: Callable[[], float]
) -> IdleSignal:
    """Never raises for what Prometheus does: then nothing is known, with the reason in `failure`.

    namespaces: the only ones that are asked for; empty for all.
    """
    among = _among(namespaces)
    asked_at = clock()
    try:
        first = await prometheus.query(f"{metrics.RESIDENCY.name}{among} == 1")
        if not first.samples:
            return IdleSignal(warning=first.warning)
        with without_collector():
            fleet, room = Join(first), asyncio.Semaphore(QUERIES_AT_ONCE)

        async def ask(query: str) -> _Answer:
            async with room:
                vector = await prometheus.query(query % among, at=fleet.evaluated_at)
            with without_collector():
                column = fleet.column(vector)
            return _Answer(column, vector.evaluated_at if vector.samples else None, vector.warning)

        warning = first.warning
        del first
        answers = await asyncio.gather(*map(ask, QUERIES.values()))
    except PrometheusUnavailable as error:
        return failed(error)
    if any(abs((each.evaluated_at or fleet.evaluated_at) - fleet.evaluated_at) > 0.1 for each in answers):
        return IdleSignal(failure="Prometheus did not answer for the instant that was asked for; is a cache before it?")
    columns = {name: answer.column for name, answer in zip(QUERIES, answers, strict=True)}
    with without_collector():
        joined = fleet.join(columns)
    return replace(
        joined,
        warning=next((each for each in (warning, *(answer.warning for answer in answers)) if each), ""),
        clock_ahead_seconds=_ahead(asked_at, fleet.evaluated_at),
    )


def _among(namespaces: Sequence[str]) -> str:
    """A selector of labels. A name is no pattern, and neither a quote in it is the end of the string."""
    if not namespaces:
        return ""
    pattern = "|".join(re.escape(name) for name in namespaces).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{namespace=~"{pattern}"}}'


def _ahead(asked_at: float, evaluated_at: float) -> float:
    """Prometheus looked at its clock after we asked, so by what ours was ahead already then, it is ahead."""
    ahead = asked_at - evaluated_at
    return ahead if ahead > SKEW_SECONDS else 0.0


@dataclass(frozen=True, slots=True)
class _Answer:
    column: Column
    evaluated_at: float | None
    warning: str
