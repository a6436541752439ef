"""The operators: whether they look, decide, and are heard. `namespace` is the ManagedModel's, where there is one.

Those that stand by export what the leader does, hence the maximum of what is there per ManagedModel.
"""

from .. import metrics
from ..metrics import Metric
from .selection import Selection

MANAGED_MODEL = "namespace, name"


def seconds_since_last_pass(selection: Selection) -> str:
    return f"time() - max({selection.series(metrics.LAST_RECONCILE)})"


def leaders(selection: Selection) -> str:
    return f"sum({selection.series(metrics.LEADER)})"


def count(selection: Selection) -> str:
    return f"count({selection.series(metrics.LEADER)})"


def per_managed_model(metric: Metric, selection: Selection) -> str:
    return f"max by ({MANAGED_MODEL}) ({selection.series(metric)})"


def total(metric: Metric, selection: Selection) -> str:
    """Over all ManagedModels; 0 where there are none."""
    return f"sum({per_managed_model(metric, selection)}) or vector(0)"


def by_residency(selection: Selection) -> str:
    return f"max by (residency) ({selection.series(metrics.MANAGED_MODELS)})"


def certificate_seconds_left(selection: Selection) -> str:
    return f"max({selection.series(metrics.CERTIFICATE_EXPIRY)}) - time()"


def trusted_until(selection: Selection) -> str:
    """By pod: when the latest certificate ends that its sidecar trusts; 0 for none."""
    return selection.series(metrics.TRUST_EXPIRY)


def pass_seconds(quantile: float, selection: Selection, within: str) -> str:
    buckets = selection.series(metrics.RECONCILE_DURATION, suffix="_bucket")
    return f"histogram_quantile({quantile:g}, sum by (le) (rate({buckets}[{within}])))"


def passes_per_minute(selection: Selection, within: str) -> str:
    passes = selection.series(metrics.RECONCILE_DURATION, suffix="_count")
    return f"60 * sum by (pod) (rate({passes}[{within}]))"


def per_second(metric: Metric, by: str, selection: Selection, within: str) -> str:
    return f"sum by ({by}) (rate({selection.series(metric)}[{within}]))"
