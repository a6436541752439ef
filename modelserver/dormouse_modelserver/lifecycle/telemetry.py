"""What happened, counted and said: one line in the log and one sample in the metrics per event."""

import logging

from dormouse_contract import RequestOutcome, Residency, TransitionOutcome, Trigger, metrics
from prometheus_client import CollectorRegistry, Counter, Histogram

from ..errors import LoadFailed

_log = logging.getLogger("dormouse")

# From a warm restore of a small model to a first load of minutes.
_SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


# What most models do all the time: these start at 0, so that the first one, and a restart, show as what they are.
# All combinations would be 144 series for each model.
_USUAL_TRANSITIONS = (
    (Residency.UNLOADED, Residency.GPU, Trigger.DEMAND),
    (Residency.CPU, Residency.GPU, Trigger.DEMAND),
    (Residency.GPU, Residency.CPU, Trigger.IDLE),
    (Residency.GPU, Residency.CPU, Trigger.AFTER_TASK),
    (Residency.CPU, Residency.UNLOADED, Trigger.IDLE),
)


class SavedMeter:
    """Integrates released bytes over time: byte-seconds, exact to the clock."""

    def __init__(self, now: float) -> None:
        self._nbytes, self._since, self._sum = 0, now, 0.0

    def changed_to(self, nbytes: int, now: float) -> None:
        self._sum = self.total(now)
        self._nbytes, self._since = nbytes, now

    def total(self, now: float) -> float:
        return self._sum + self._nbytes * max(0.0, now - self._since)


class Telemetry:
    """Counters and histograms of one manager, on a registry of its own. Thread-safe."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Everything at 0; with locks that nobody holds."""
        self.registry = CollectorRegistry()
        self._requests = _counter(metrics.REQUESTS, self.registry)
        self._transitions = _counter(metrics.TRANSITIONS, self.registry)
        self._duration = _histogram(metrics.TRANSITION_DURATION, self.registry)
        self._wait = _histogram(metrics.WAKE_WAIT, self.registry)
        self._load_failures = _counter(metrics.LOAD_FAILURES, self.registry)

    def registered(self, model: str) -> None:
        """Start the series of a model at 0, so that the first event is an increase."""
        for outcome in RequestOutcome:
            self._requests.labels(model, outcome)
        self._wait.labels(model)
        self._load_failures.labels(model)
        for origin, to, trigger in _USUAL_TRANSITIONS:
            self._transitions.labels(model, origin, to, trigger, TransitionOutcome.OK)

    def request(self, model: str, outcome: RequestOutcome) -> None:
        self._requests.labels(model, outcome).inc()

    def waited(self, model: str, seconds: float) -> None:
        self._wait.labels(model).observe(seconds)

    def load_failed(self, model: str, error: LoadFailed, *, whole: bool) -> None:
        """whole: with the traceback, for one that was not there before; the transition's own line is enough else."""
        self._load_failures.labels(model).inc()
        if whole:
            _log.error("model %s: its load failed", model, exc_info=error)

    def transition(
        self,
        model: str,
        origin: Residency,
        to: Residency,
        trigger: Trigger,
        outcome: TransitionOutcome,
        seconds: float,
        reason: str,
        released_bytes: int = 0,
    ) -> None:
        """`released_bytes`: measured as given back by the device; 0 for none."""
        self._transitions.labels(model, origin, to, trigger, outcome).inc()
        if outcome is TransitionOutcome.OK:
            self._duration.labels(model, origin, to).observe(seconds)
        level = logging.WARNING if outcome is TransitionOutcome.FAILED else logging.INFO
        why = f"{trigger}: {reason}" if reason else str(trigger)
        released = f" · released {_shown_bytes(released_bytes)}" if released_bytes else ""
        _log.log(level, "model %s: %s → %s %s in %.3f s (%s)%s", model, origin, to, outcome, seconds, why, released)


def _shown_bytes(nbytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.4g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.4g} GiB"


def _counter(metric: metrics.Metric, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def _histogram(metric: metrics.Metric, registry: CollectorRegistry) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=_SECONDS_BUCKETS)
