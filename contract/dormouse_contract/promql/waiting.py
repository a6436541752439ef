"""What sleep costs: wakes, requests that waited for one or were not let in, and how long moves take."""

from .. import metrics
from . import replicas
from .selection import Selection

_KINDS = ("from", "to", "trigger", "outcome")
_WAKES = ('to="GPU"', 'outcome="ok"')


def moves(selection: Selection, within: str, *by: str, only: tuple[str, ...] = ()) -> str:
    """Transitions, in all or by the labels `by`; `only` are matchers."""
    each = replicas.events(selection.series(metrics.TRANSITIONS, *only), within, *_KINDS)
    return f"sum by ({', '.join(by)}) ({each})" if by else f"sum({each})"


def wakes(selection: Selection, within: str, *by: str) -> str:
    """How often weights came back to the GPU."""
    return moves(selection, within, *by, only=_WAKES)


def waited(selection: Selection, within: str) -> str:
    """Requests that found the model asleep and were let in after its wake."""
    return f"sum({replicas.increase(selection.series(metrics.WAKE_WAIT, suffix='_count'), within)})"


def wait_buckets(selection: Selection, within: str, *by: str) -> str:
    """Of those requests, by `le` and by the labels `by`."""
    buckets = selection.series(metrics.WAKE_WAIT, suffix="_bucket")
    return f"sum by ({', '.join((*by, 'le'))}) ({replicas.increase(buckets, within, 'le')})"


def wait_quantile(quantile: float, selection: Selection, within: str) -> str:
    return f"histogram_quantile({quantile:g}, {wait_buckets(selection, within)})"


def not_let_in(selection: Selection, within: str) -> str:
    """Requests that ended in 503: not awake within their budget, or the wake failed."""
    series = selection.series(metrics.REQUESTS, 'outcome=~"timeout|rejected"')
    return f"sum({replicas.increase(series, within, 'outcome')})"


def requests_per_second(selection: Selection, within: str) -> str:
    """By outcome."""
    return f"sum by (outcome) ({replicas.rate(selection.series(metrics.REQUESTS), within, 'outcome')})"


def mean_move_seconds(selection: Selection) -> str:
    """By where from and where to, over the lives of the processes that are there now."""
    seconds, count = (
        replicas.now(selection.series(metrics.TRANSITION_DURATION, suffix=suffix), "from", "to")
        for suffix in ("_sum", "_count")
    )
    return f"sum by (from, to) ({seconds}) / sum by (from, to) ({count})"
