"""How long replicas are idle, of those alone whose figures may be believed: the verdict of `idleness` as a filter.

For ten thousand replicas the columns of that verdict are tens of megabytes, of which a table needs one number for each
line. So Prometheus leaves out what the verdict would not call fresh. `tests/console/test_one_verdict.py` holds the two
together, situation by situation.
"""

from .. import metrics
from ..idleness import COLUMNS, Asked, fresh_for_seconds
from ..idleness.reading import FUTURE_SECONDS
from ..residency import Residency
from . import idle_signal
from .selection import Selection, none_of

KEY = "namespace, pod, model"
"""What a replica is to an operator, `idleness.ReplicaKey`: it knows of one cluster."""


def idle_seconds(selection: Selection, by: str = KEY) -> str:
    """For how long nobody uses it, per replica; 0 while a request is in flight. `by` is what makes two replicas two."""
    since, in_flight = (
        # Of values that agree, whichever.
        f"min by ({by}) ({selection.series(metric)})"
        for metric in (metrics.IDLE_SINCE, metrics.IN_FLIGHT)
    )
    sampled_at = f"min by ({by}) (timestamp({selection.series(metrics.IDLE_SINCE)}))"
    return (
        # Idle since 0 with nothing in flight would be idle since 1970: a contradiction, as 0 is "in use".
        f"((time() - {since}) * ({in_flight} == bool 0) < time()"
        f" and time() - {sampled_at} <= {_fresh_for()}"
        f" and {since} - {sampled_at} <= {FUTURE_SECONDS:g}"
        f" and {_on_one_tier(selection, by)}"
        f" and {_plain_and_agreed(selection, by)})"
    )


def _fresh_for() -> str:
    """As the operator says it, or else the usual."""
    return f"scalar({idle_signal.fresh_for()} or vector({fresh_for_seconds():g}))"


def _on_one_tier(selection: Selection, by: str) -> str:
    """There is hardly ever a series of an unknown tier, so it is cheap to leave out."""
    somewhere = selection.series(metrics.RESIDENCY)
    elsewhere = selection.series(metrics.RESIDENCY, none_of("residency", Residency))
    tiers = f"group by ({by}, residency) ({somewhere} == 1)"
    return f"count by ({by}) ({tiers} unless on ({by}) {elsewhere} == 1) == 1"


def _plain_and_agreed(selection: Selection, by: str) -> str:
    """Each sample of each column is a number, 0 or more, and those of one column are the same."""
    samples = selection.named(dict.fromkeys(each.metric for each in COLUMNS if each.asked is Asked.VALUE))
    return (
        # With NaN or Inf the sum is no less.
        f"sum by ({by}) ({samples}) < Inf"
        f" and max by ({by}) (stdvar by ({by}, __name__) ({samples})) == 0"
        f" unless on ({by}) {samples} < 0"
    )
