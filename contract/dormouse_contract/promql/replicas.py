"""A replica's figures: those of all its series folded into one, so that a pod that two jobs scrape counts once.

A pod may have several lives within a range: restarted by a StatefulSet it keeps its name and gets a new address, so its
counters go on in new series, from 0. Two jobs that scrape one pod may give it different addresses at the same time. So
the lives that one job saw are added, and of the jobs the one counts that saw most. The maximum of all series alone
would forget lives; the sum over addresses alone would count each life once per job.
"""

from ..metrics import GPU_INFO
from .selection import REAL, Selection

REPLICA = "cluster, namespace, pod, model"
"""The label `cluster` is there where one Prometheus has several; elsewhere it changes nothing."""


def now(series: str, *labels: str) -> str:
    """Of a gauge: one figure per replica, and per value of `labels`."""
    return f"max by ({_by(*labels)}) ({series})"


def over(figure: str, *labels: str, parts: tuple[str, ...] = ()) -> str:
    """Of a range: `figure` is one number per series, for example an increase. Series that differ in `parts` add up."""
    life = f"max by ({_by(*labels, 'job', 'instance', *parts)}) ({figure})"
    return f"max by ({_by(*labels)}) (sum by ({_by(*labels, 'job')}) ({life}))"


def increase(series: str, within: str, *labels: str) -> str:
    """What a counter went up by, in all lives. It has to be there, with 0, before its first event."""
    return over(f"increase({series}[{within}])", *labels)


def rate(series: str, within: str, *labels: str) -> str:
    return over(f"rate({series}[{within}])", *labels)


def events(series: str, within: str, *labels: str) -> str:
    """As `increase`, of a counter that appears with its first event: what it begins with in the range counts too."""
    first = f"min_over_time({series}[{within}]) unless {series} offset {within}"
    # Beside each other and not added: a series of one sample has no increase.
    both = f'increase({series}[{within}]) or label_replace({first}, "part", "first", "", "")'
    return over(both, *labels, parts=("part",))


def counted(figure: str, selection: Selection, within: str = "") -> str:
    """`figure` of the replicas that are in sums. `within` is the range that the figure is over, if it is over one."""
    return f"({figure} and on ({REPLICA}) {in_sums(selection, within)})"


def in_sums(selection: Selection, within: str = "") -> str:
    """The replicas that are not simulated, or all where all of the selection are; those that are gone since as well."""
    real, anything = (
        f"last_over_time({series}[{within}])" if within else series
        for series in (selection.series(GPU_INFO, REAL), selection.series(GPU_INFO))
    )
    return f"({real} or ({anything} and on () absent({real})))"


def _by(*labels: str) -> str:
    return ", ".join((REPLICA, *labels))
