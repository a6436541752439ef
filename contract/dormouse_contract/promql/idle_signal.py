"""What is asked of Prometheus for the idle signal, from the table of its columns.

An instant query answers samples that are up to five minutes old under the time of the evaluation; so when a sample was
taken is a column as well (`timestamp(…)`). All of it must be asked for one instant, or a reading is a mixture.
"""

from collections.abc import Mapping, Sequence

from .. import metrics
from ..idleness.columns import Asked
from ..idleness.join import EXPORTED
from ..idleness.reading import COLUMNS
from ..metrics import Metric
from .selection import Selection, equals

_ASKED: Mapping[Asked, str] = {
    Asked.VALUE: "%s",
    Asked.TIMESTAMP: "timestamp(%s)",
    Asked.POSITIVE: "%s > 0",
}


def residencies(*matchers: str) -> str:
    """Where each replica is: the first question, which says what replicas there are."""
    return f"{Selection(matchers).series(metrics.RESIDENCY)} == 1"


def columns(*matchers: str) -> dict[str, str]:
    """A query for each column, by its name."""
    chosen = Selection(matchers)
    return {each.name: _ASKED[each.asked] % chosen.series(each.metric) for each in COLUMNS}


def exported(*matchers: str, also: Sequence[Metric] = ()) -> str:
    """All that the pods export of it in one answer, for a few pods; when the samples were taken is not in it.

    also: other metrics, for who shows more than the verdict.
    """
    return Selection(matchers).named((*EXPORTED, *also))


def times(*matchers: str) -> dict[str, str]:
    """What `exported` lacks: the columns that are about when a sample was taken, by name."""
    wanted = {each.name for each in COLUMNS if each.asked is Asked.TIMESTAMP}
    return {name: query for name, query in columns(*matchers).items() if name in wanted}


def sizes(query: str, *labels: str) -> str:
    """How many series there are of each value of `labels`: for who can't read them all."""
    return f"count by ({', '.join(labels)}) ({query})"


def fresh_for() -> str:
    """How old a sample may be, as the operator says; of several the most lenient, nothing where that is no number."""
    return f"max({metrics.IDLE_SIGNAL_FRESH_FOR.name} < Inf)"


def unlabelled(*matchers: str) -> str:
    """How many series a scrape gave no namespace, so that they belong to nobody: for who wonders why all lack."""
    return f"count({Selection(matchers).series(metrics.RESIDENCY, equals('namespace', ''))} == 1)"
