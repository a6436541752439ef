"""What a ledger of savings is made of: one instant query per figure for the whole range.

`increase()` runs where the samples are, knows counter resets (a restarted model process begins at 0), and
answers one number per replica, so that a week of ten thousand replicas is a few MB. It extrapolates to the ends
of the range by half a scrape interval to one, which is its error.
"""

from .. import metrics
from ..residency import Residency
from . import replicas
from .selection import Selection, equals

_LEDGER = "namespace, pod, model"


def queries(seconds: int, namespace: str | None, of_pods: tuple[str, ...] = ()) -> dict[str, str]:
    """By figure; `owner` and `device` have it in a label. `of_pods`: matchers of the jobs that are believed."""
    selection = Selection(() if namespace is None else (equals("namespace", namespace),), of_pods=of_pods)
    within = f"{seconds}s"

    def total(figure: str) -> str:
        return f"sum by ({_LEDGER}) ({figure})"

    def samples(tier: Residency) -> str:
        return f"sum_over_time({selection.series(metrics.RESIDENCY, equals('residency', tier))}[{within}])"

    def waits(suffix: str) -> str:
        return replicas.increase(selection.series(metrics.WAKE_WAIT, suffix=suffix), within)

    moves = selection.series(metrics.TRANSITIONS, 'outcome="ok"')
    owners = f"timestamp({selection.series(metrics.REPLICA_INFO)})[{within}:{_step(seconds)}s]"
    return {
        "released": total(replicas.increase(selection.series(metrics.RELEASED_BYTE_SECONDS), within)),
        "transitions": total(replicas.events(moves, within, "from", "to", "trigger")),
        **{str(tier): total(replicas.over(samples(tier))) for tier in Residency},
        "waits": total(waits("_count")),
        "waited": total(waits("_sum")),
        # The latest counts; timestamps differ only where the label changed within the range.
        "owner": f"topk by ({_LEDGER}) (1, max_over_time({owners}))",
        "device": f"last_over_time({selection.series(metrics.GPU_INFO)}[{within}])",
    }


def _step(seconds: int) -> int:
    """An owner that had a replica for less than a thousandth of the range may be overlooked."""
    return max(1, seconds // 1000)
