"""What the dashboards ask about: the choices of the variables at the top of each, and the figures of several panels.

The expressions come from `dormouse_contract.promql` and are on the metrics themselves, not on the recording rules, so
that a dashboard also works where nobody has loaded the rules.
"""

from dormouse_contract.promql import memory, waiting
from dormouse_contract.promql.selection import Selection

CLUSTER = Selection(('cluster=~"$cluster"',))
PODS = Selection((*CLUSTER.matchers, 'namespace=~"$namespace"'), ('model=~"$model"',))
RANGE, RATE, STEP = "$__range", "$__rate_interval", "$__interval"
"""The time chosen at the top; long enough for a rate; from one point of a graph to the next."""

RELEASED = memory.released(PODS)
HELD = memory.held(PODS)
SAVED_BYTE_SECONDS = memory.saved(PODS, RANGE)
SAVED_GIB_HOURS = f"{SAVED_BYTE_SECONDS} / {memory.GIB_HOUR}"


def wait_quantile(quantile: float) -> str:
    return waiting.wait_quantile(quantile, PODS, RANGE)
