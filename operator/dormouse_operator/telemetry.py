"""The operator's own metrics, made from the contract's entries in the registry that is passed in."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from dormouse_contract import Action, Residency, metrics
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
        self._duration = Histogram(metrics.RECONCILE_DURATION.name, metrics.RECONCILE_DURATION.help, registry=registry)
        self._last = _gauge(metrics.LAST_RECONCILE, registry)
        self._orders = _counter(metrics.ORDERS, registry)
        self._queries = _counter(metrics.PROMETHEUS_QUERIES, registry)
        self._api_requests = _counter(metrics.API_REQUESTS, registry)
        self._ignored = _counter(metrics.IGNORED_MODELS, registry)
        self._missing = _PerManagedModel(_gauge(metrics.IDLE_SIGNAL_MISSING, registry))
        self._releasable = _PerManagedModel(_gauge(metrics.OBSERVED_RELEASABLE, registry))
        self._fresh_for = _gauge(metrics.IDLE_SIGNAL_FRESH_FOR, registry)
        self._owners = _Owners()
        registry.register(self._owners)
        self._expiry = _gauge(metrics.CERTIFICATE_EXPIRY, registry)
        self._key_source = _gauge(metrics.KEY_SOURCE_USABLE, registry)
        self._leader = _gauge(metrics.LEADER, registry)

    def started(self, leads: Callable[[], bool]) -> None:
        """`leads` is asked at each scrape: nobody need notice that the time of a leader is over."""
        self._leader.set_function(leads)

    def believes_for(self, fresh_for_seconds: float) -> None:
        """How old a sample may be: said once, for whoever judges the same signal."""
        self._fresh_for.set(fresh_for_seconds)

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

    def ignored(self, namespace: str, models: int) -> None:
        self._ignored.labels(namespace).inc(models)

    def reconciled(self, seconds: float, finished_at: float) -> None:
        self._duration.observe(seconds)
        self._last.set(finished_at)

    def fleet(self, views: Iterable[View]) -> None:
        tally: Tally[str] = Tally()
        missing: dict[Name, float] = {}
        releasable: dict[Name, float] = {}
        owners: list[tuple[str, str, str, str]] = []
        for view in views:
            key = view.owner.key
            owners.extend((*key, replica.pod.name, replica.model) for replica in view.present)
            tally[view.owner.status.residency or UNKNOWN] += 1
            missing[key] = float(any(not replica.seen.state.known for replica in view.present))
            if view.owner.policy.mode == "Observe":
                releasable[key] = _would_release(view)
        for residency in (*Residency, MIXED, UNKNOWN):
            self._managed_models.labels(residency).set(tally[residency])
        self._owners.shown = frozenset(owners)
        self._missing.show(missing)
        self._releasable.show(releasable)


class _Owners(Collector):
    """Which ManagedModel has which replica: written out when asked, as a child per series is a KB each."""

    def __init__(self) -> None:
        self.shown: frozenset[tuple[str, str, str, str]] = frozenset()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        info = metrics.REPLICA_INFO
        family = GaugeMetricFamily(info.name, info.help, labels=info.labels)
        for each in self.shown:
            family.add_metric(each, 1.0)
        yield family


_API_OUTCOMES = {404: "not_found", 409: "conflict", 429: "unavailable", 0: "unavailable"}


def _by_class(status: int) -> str:
    return "ok" if 200 <= status < 300 else "refused" if status < 500 else "unavailable"


class _PerManagedModel:
    """Touches only the series that changed, and removes those of objects that are gone."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: dict[Name, float] = {}

    def show(self, values: dict[Name, float]) -> None:
        for key in self._shown.keys() - values.keys():
            self._gauge.remove(*key)
        for key, value in values.items():
            if self._shown.get(key) != value:
                self._gauge.labels(*key).set(value)
        self._shown = values


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
