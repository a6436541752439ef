"""The operator's own metrics, made from the contract's entries in the registry that is passed in."""

from collections.abc import Callable, Iterator, Mapping

from dormouse_contract import Action, Mode, Residency, metrics
from dormouse_contract.managed_model import MIXED, UNKNOWN, Name
from dormouse_contract.metrics import Metric
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .orders import Outcome
from .view import View


class Telemetry:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._managed_models = _gauge(metrics.MANAGED_MODELS, registry)
        for residency in _RESIDENCIES:
            self._managed_models.labels(residency)
        self._residencies: dict[Name, str] = {}
        self._visit_failures = _counter(metrics.VISIT_FAILURES, registry)
        self._failed: dict[Name, set[str]] = {}
        self._duration = Histogram(metrics.RECONCILE_DURATION.name, metrics.RECONCILE_DURATION.help, registry=registry)
        self._last = _gauge(metrics.LAST_RECONCILE, registry)
        self._orders = _counter(metrics.ORDERS, registry)
        self._queries = _counter(metrics.PROMETHEUS_QUERIES, registry)
        self._api_requests = _counter(metrics.API_REQUESTS, registry)
        self._missing = _PerManagedModel(_gauge(metrics.IDLE_SIGNAL_MISSING, registry))
        self._releasable = _PerManagedModel(_gauge(metrics.OBSERVED_RELEASABLE, registry))
        self._too_large = _gauge(metrics.IDLE_SIGNAL_TOO_LARGE, registry)
        self._fresh_for = _gauge(metrics.IDLE_SIGNAL_FRESH_FOR, registry)
        self._owners = _Owners()
        self._waiting = _Waiting()
        for collector in (self._owners, self._waiting):
            registry.register(collector)
        self._expiry = _gauge(metrics.CERTIFICATE_EXPIRY, registry)
        self._key_source = _gauge(metrics.KEY_SOURCE_USABLE, registry)
        self._leader = _gauge(metrics.LEADER, registry)

    def started(self, leads: Callable[[], bool]) -> None:
        """`leads` is asked at each scrape: nobody need notice that the time of a leader is over."""
        self._leader.set_function(leads)

    def believes_for(self, fresh_for_seconds: float) -> None:
        """How old a sample may be: said once, for whoever judges the same signal."""
        self._fresh_for.set(fresh_for_seconds)

    def too_large(self, namespaces: Iterable[str]) -> None:
        """The namespaces whose series don't fit into an answer."""
        self._too_large.clear()
        for namespace in namespaces:
            self._too_large.labels(namespace).set(1)

    def certificate(self, expires_at: float) -> None:
        """Of the key that orders go out with; 0 without one."""
        self._expiry.set(expires_at)

    def key_source(self, usable: bool) -> None:
        self._key_source.set(usable)

    def answered(self, verb: str, status: int) -> None:
        """A request to the API server; status 0 for none."""
        self._api_requests.labels(verb, _API_OUTCOMES.get(status) or _by_class(status)).inc()

    def ordered(self, desired: Residency, outcome: Outcome) -> None:
        self._orders.labels(desired, outcome).inc()

    def queried(self, ok: bool) -> None:
        self._queries.labels("ok" if ok else "failed").inc()

    def reconciled(self, seconds: float, finished_at: float) -> None:
        self._duration.observe(seconds)
        self._last.set(finished_at)

    def waiting(self, seconds_by_namespace: Callable[[], Mapping[str, float]]) -> None:
        """How long the oldest call to a pod waits for its turn: asked at each scrape."""
        self._waiting.seconds_by_namespace = seconds_by_namespace

    def visited(self, view: View) -> None:
        """What is exported of one ManagedModel is what its last visit found."""
        key = view.owner.key
        residency = view.owner.status.residency
        self._count(key, residency if residency in _RESIDENCIES else UNKNOWN)
        self._owners.shown[key] = tuple((*key, replica.pod.name, replica.model) for replica in view.present)
        self._missing.show(key, float(any(not replica.seen.state.known for replica in view.present)))
        self._releasable.show(key, _would_release(view) if view.owner.policy.mode is Mode.OBSERVE else None)

    def visit_failed(self, key: Name, reason: str) -> None:
        self._visit_failures.labels(*key, reason).inc()
        self._failed.setdefault(key, set()).add(reason)

    def dropped(self, key: Name) -> None:
        """It is gone, and its series with it."""
        self._count(key, None)
        self._owners.shown.pop(key, None)
        self._missing.show(key, None)
        self._releasable.show(key, None)
        for reason in self._failed.pop(key, ()):
            self._visit_failures.remove(*key, reason)

    def _count(self, key: Name, residency: str | None) -> None:
        before = self._residencies.get(key)
        if residency == before:
            return
        if before is not None:
            self._managed_models.labels(before).dec()
        if residency is None:
            self._residencies.pop(key, None)
        else:
            self._residencies[key] = residency
            self._managed_models.labels(residency).inc()


_RESIDENCIES = (*Residency, MIXED, UNKNOWN)


class _Owners(Collector):
    """Which ManagedModel has which replica: written out when asked, as a child per series is a KB each."""

    def __init__(self) -> None:
        self.shown: dict[Name, tuple[tuple[str, str, str, str], ...]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        info = metrics.REPLICA_INFO
        family = GaugeMetricFamily(info.name, info.help, labels=info.labels)
        for each in {replica for replicas in self.shown.values() for replica in replicas}:
            family.add_metric(each, 1.0)
        yield family


class _Waiting(Collector):
    def __init__(self) -> None:
        self.seconds_by_namespace: Callable[[], Mapping[str, float]] = dict

    def collect(self) -> Iterator[GaugeMetricFamily]:
        waiting = metrics.OLDEST_WAITING_CALL
        family = GaugeMetricFamily(waiting.name, waiting.help, labels=waiting.labels)
        for namespace, seconds in self.seconds_by_namespace().items():
            family.add_metric([namespace], seconds)
        yield family


_API_OUTCOMES = {404: "not_found", 409: "conflict", 429: "unavailable", 0: "unavailable"}


def _by_class(status: int) -> str:
    return "ok" if 200 <= status < 300 else "refused" if status < 500 else "unavailable"


class _PerManagedModel:
    """Touches only the series that changed, and removes those of objects that are gone."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: dict[Name, float] = {}

    def show(self, key: Name, value: float | None) -> None:
        if value is None:
            if self._shown.pop(key, None) is not None:
                self._gauge.remove(*key)
        elif self._shown.get(key) != value:
            self._shown[key] = value
            self._gauge.labels(*key).set(value)


def _would_release(view: View) -> float:
    return sum(
        replica.seen.reading.gpu_memory_bytes or 0.0
        for replica in view.present
        if replica.decision.action is Action.WOULD_ORDER
        and replica.residency is Residency.GPU
        and replica.seen.reading is not None
    )


def _gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def _counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    # The library puts `_total` back on.
    return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
