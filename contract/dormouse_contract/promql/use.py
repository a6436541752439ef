"""Where replicas are, whether they are used, and whose they are."""

from collections.abc import Iterable

from .. import metrics
from ..residency import Residency
from . import believed, replicas
from .replicas import REPLICA
from .selection import Selection, equals, one_of


def on_tier(tier: Residency, selection: Selection, *more: str) -> str:
    """1 per replica that is there, 0 per other."""
    return replicas.now(selection.series(metrics.RESIDENCY, *more, equals("residency", tier)))


def tiers(selection: Selection, *more: str) -> str:
    """Per replica: 2 on the GPU, 1 in host RAM, 0 on disk only."""
    return f"2 * {on_tier(Residency.GPU, selection, *more)} + {on_tier(Residency.CPU, selection, *more)}"


def idle(selection: Selection) -> str:
    """1 per replica without a request in flight, 0 per other."""
    return f"{replicas.now(selection.series(metrics.IN_FLIGHT))} == bool 0"


def share_idle(selection: Selection, by: str = "") -> str:
    return f"avg{f' by ({by}) ' if by else ''}({idle(selection)})"


def share_asleep(selection: Selection) -> str:
    """Weights not on the GPU."""
    return f"1 - avg({on_tier(Residency.GPU, selection)})"


def idle_for(selection: Selection) -> str:
    """Seconds, of the replica that was used last; 0 while a request is in flight. Of those that may be believed."""
    return f"min({believed.idle_seconds(selection, by=REPLICA)})"


def slowest_wake(selection: Selection) -> str:
    """Seconds, by the replicas' own estimates; nothing until one has measured."""
    return f"max({selection.series(metrics.RESTORE_ESTIMATE)} >= 0)"


def processes_up(selection: Selection) -> str:
    """Model processes that answer their sidecar."""
    return f"sum(max by (cluster, namespace, pod) ({selection.series(metrics.PROCESS_UP)}))"


def tiers_of_pods(pods: Iterable[str], selection: Selection) -> str:
    return tiers(selection, one_of("pod", pods))


def idle_for_by_owner(selection: Selection) -> str:
    """As `idle_for`, per ManagedModel. It is joined without `cluster`, which one of the two scrapes may lack."""
    info = selection.series(metrics.REPLICA_INFO)
    owner = f"topk by ({believed.KEY}) (1, group by ({believed.KEY}, name) ({info}))"
    each = f"{believed.idle_seconds(selection)} * on ({believed.KEY}) group_left (name) {owner}"
    return f"min by (namespace, name) ({each})"


def replicas_of(name: str, within: str, selection: Selection) -> str:
    """Those that a ManagedModel had within the range."""
    series = selection.series(metrics.REPLICA_INFO, equals("name", name))
    return f"group by ({REPLICA}) (last_over_time({series}[{within}]))"
