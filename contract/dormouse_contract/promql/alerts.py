"""When an alert fires. What it says then is in `dashboards/alerts.py`. Each function is one alert's condition."""

from .. import metrics
from . import operators, replicas, waiting
from .rules import HOUR
from .selection import EVERYTHING

DAY_SECONDS = 86400
# With one Prometheus for several clusters, a pod of each may have the same name: what is added up is of one.
_REPLICA = ("cluster", "namespace", "pod", "model")
_POD = "cluster, namespace, pod"


def wake_failing() -> str:
    failed = waiting.moves(EVERYTHING, "10m", *_REPLICA, only=('to="GPU"', 'outcome="failed"'))
    return f"{failed} > 0"


def wake_slow() -> str:
    return f"namespace_model:dormouse_wake_wait_seconds:p95_{HOUR} > 15"


def idle_signal_missing() -> str:
    return f"{operators.per_managed_model(metrics.IDLE_SIGNAL_MISSING, EVERYTHING)} == 1"


def stuck_transitioning() -> str:
    return f"time() - {replicas.now(f'{EVERYTHING.series(metrics.TRANSITION_START)} > 0')} > 600"


def flapping() -> str:
    only = ('from="GPU"', 'trigger="Idle"', 'outcome="ok"')
    return f"{waiting.moves(EVERYTHING, HOUR, *_REPLICA, only=only)} > 12"


def host_memory_budget_exceeded() -> str:
    held = f"sum by ({_POD}) ({replicas.now(EVERYTHING.series(metrics.HOST_MEMORY))})"
    budget = f"max by ({_POD}) ({EVERYTHING.series(metrics.HOST_MEMORY_BUDGET)})"
    return f"{held} / on ({_POD}) {budget} > 0.9"


def release_not_verified() -> str:
    stayed, released = (replicas.now(EVERYTHING.series(metric)) for metric in (metrics.RESIDUAL, metrics.RELEASED))
    return f"{stayed} > 0.1 * ({released} + {stayed})"


def reconcile_stalled() -> str:
    return (
        f"{operators.seconds_since_last_pass(EVERYTHING)} > 300 "
        f"or max({EVERYTHING.series(metrics.LEADER)}) == 0 or absent({EVERYTHING.series(metrics.LAST_RECONCILE)})"
    )


def certificate_expiring() -> str:
    trusted = f"max by ({_POD}) ({operators.trusted_until(EVERYTHING)} > 0) - time()"
    return f"{operators.certificate_seconds_left(EVERYTHING)} < 14 * {DAY_SECONDS} or ({trusted}) < 7 * {DAY_SECONDS}"
