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
from collections.abc import Callable, Sequence

from dormouse_contract.idleness import IdleSignal, Join
from dormouse_contract.promql import idle_signal
from dormouse_prometheus.api import Prometheus
from dormouse_prometheus.errors import PrometheusUnavailable
from dormouse_prometheus.garbage import without_collector

from .failure import failed

# Each answer may be 3 MB, and is reduced when it is there.
QUERIES_AT_ONCE = 2


async def read_idle_signal(
    prometheus: Prometheus, *, namespaces: Sequence[str] = (), clock: Callable[[], float]
) -> IdleSignal:
    """Never raises for what Prometheus does: then nothing is known, with the reason in `failure`.

    namespaces: the only ones that are asked for; empty for all.
    """
    among = idle_signal.among(namespaces)
    asked_at = clock()
    try:
        first = await prometheus.query(idle_signal.residencies(*among))
        with without_collector():
            fleet, room = Join(first), asyncio.Semaphore(QUERIES_AT_ONCE)
        del first

        async def ask(name: str, query: str) -> None:
            async with room:
                vector = await prometheus.query(query, at=fleet.evaluated_at)
            with without_collector():
                fleet.add(name, vector)

        if not fleet.is_empty:
            await asyncio.gather(*(ask(name, query) for name, query in idle_signal.columns(*among).items()))
    except PrometheusUnavailable as error:
        return failed(error)
    with without_collector():
        return fleet.signal(asked_at)
