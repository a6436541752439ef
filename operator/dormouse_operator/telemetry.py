"""The operator's own metrics, made from the contract's entries in the registry that is passed in."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping

from dormouse_contract import Action, Mode, Residency, metrics
from dormouse_contract.managed_model import MIXED, UNKNOWN, ManagedModel, Name
from dormouse_contract.metrics import Metric
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .orders import Outcome
from .view import View


class Telemetry:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._visit_failures = _counter(metrics.VISIT_FAILURES, registry)
        self._failed: dict[Name, set[str]] = {}
        self._duration = Histogram(metrics.RECONCILE_DURATION.name, metrics.RECONCILE_DURATION.help, registry=registry)
        self._last = _gauge(metrics.LAST_RECONCILE, registry)
        self._orders = _counter(metrics.ORDERS, registry)
        self._queries = _counter(metrics.PROMETHEUS_QUERIES, registry)
        self._api_requests = _counter(metrics.API_REQUESTS, registry)
        self._too_large = _gauge(metrics.IDLE_SIGNAL_TOO_LARGE, registry)
        self._ignored = _counter(metrics.IGNORED_MODELS, registry)
        self._fresh_for = _gauge(metrics.IDLE_SIGNAL_FRESH_FOR, registry)
        self._fleet = _FleetFigures()
        registry.register(self._fleet)
        self._waiting = _Asked(metrics.OLDEST_WAITING_CALL)
        registry.register(self._waiting)
        self._expiry = _gauge(metrics.CERTIFICATE_EXPIRY, registry)
        self._key_source = _gauge(metrics.KEY_SOURCE_USABLE, registry)
        self._leader = _gauge(metrics.LEADER, registry)
        self._watches = _Asked(metrics.WATCH_LAST_ALIVE)
        registry.register(self._watches)
        self._trust = _Asked(metrics.TRUST_NOT_PUBLISHED)
        registry.register(self._trust)
        self._shared = _Asked(metrics.SHARED_MANAGED_MODELS)
        registry.register(self._shared)

    def started(self, leads: Callable[[], bool]) -> None:
        """`leads` is asked at each scrape: nobody need notice that the time of a leader is over."""
        self._leader.set_function(leads)

    def watches(self, last_alive: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """`last_alive` is asked at each scrape, for Unix seconds by resource and namespace."""
        self._watches.ask = last_alive

    def trust(self, kept_out_of: Callable[[], Iterable[str]]) -> None:
        """`kept_out_of` is asked at each scrape, for namespaces."""
        self._trust.ask = lambda: {(namespace,): 1.0 for namespace in kept_out_of()}

    def shared(self, by_rival: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """`by_rival` is asked at each scrape, for numbers of ManagedModels."""
        self._shared.ask = by_rival

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

    def ignored(self, namespace: str, models: int) -> None:
        self._ignored.labels(namespace).inc(models)

    def reconciled(self, seconds: float, finished_at: float) -> None:
        self._duration.observe(seconds)
        self._last.set(finished_at)

    def waiting(self, seconds_by_namespace: Callable[[], Mapping[str, float]]) -> None:
        """How long the oldest call to a pod waits for its turn: asked at each scrape."""
        self._waiting.ask = lambda: {(namespace,): seconds for namespace, seconds in seconds_by_namespace().items()}

    def fleet(self, managed_models: Callable[[], Iterable[ManagedModel]], views: Callable[[], Iterable[View]]) -> None:
        """Both are asked at each scrape: for what the status says, and for what the last visit found."""
        self._fleet.managed_models, self._fleet.views = managed_models, views

    def visit_failed(self, key: Name, reason: str) -> None:
        self._visit_failures.labels(*key, reason).inc()
        self._failed.setdefault(key, set()).add(reason)

    def dropped(self, key: Name) -> None:
        """It is gone, and its series with it."""
        for reason in self._failed.pop(key, ()):
            self._visit_failures.remove(*key, reason)


class _Asked(Collector):
    """Asked when it is scraped, so that a loop that stands still can't show a value that is fresh."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.ask: Callable[[], Mapping[tuple[str, ...], float]] = dict

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = _family(self._metric)
        for labels, value in self.ask().items():
            family.add_metric(labels, value)
        yield family


class _FleetFigures(Collector):
    """Made when they are asked for: a pass happens several times a second, and a child per series is a KB each."""

    def __init__(self) -> None:
        self.managed_models: Callable[[], Iterable[ManagedModel]] = tuple
        self.views: Callable[[], Iterable[View]] = tuple

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._of_statuses()
        yield from self._of_views()

    def _of_statuses(self) -> Iterator[GaugeMetricFamily]:
        tally: Tally[str] = Tally()
        troubles = _family(metrics.CONDITION)
        for owner in self.managed_models():
            tally[owner.status.residency or UNKNOWN] += 1
            for each in owner.status.conditions:
                if each.status != "True":
                    troubles.add_metric((*owner.key, each.type, each.status, each.reason), 1.0)
        managed_models = _family(metrics.MANAGED_MODELS)
        for residency in _RESIDENCIES:
            managed_models.add_metric((residency,), tally[residency])
        yield from (managed_models, troubles)

    def _of_views(self) -> Iterator[GaugeMetricFamily]:
        missing, releasable, owners = map(
            _family, (metrics.IDLE_SIGNAL_MISSING, metrics.OBSERVED_RELEASABLE, metrics.REPLICA_INFO)
        )
        for view in self.views():
            key, present = view.owner.key, view.present
            missing.add_metric(key, float(any(not replica.seen.state.known for replica in present)))
            if view.owner.policy.mode is Mode.OBSERVE:
                releasable.add_metric(key, _would_release(view))
            for replica in present:
                owners.add_metric((*key, replica.pod.name, replica.model), 1.0)
        yield from (missing, releasable, owners)


_RESIDENCIES = (*Residency, MIXED, UNKNOWN)
_API_OUTCOMES = {404: "not_found", 409: "conflict", 429: "unavailable", 0: "unavailable"}


def _by_class(status: int) -> str:
    return "ok" if 200 <= status < 300 else "refused" if status < 500 else "unavailable"


def _would_release(view: View) -> float:
    return sum(
        replica.seen.reading.gpu_memory_bytes or 0.0
        for replica in view.present
        if replica.decision.action is Action.WOULD_ORDER
        and replica.residency is Residency.GPU
        and replica.seen.reading is not None
    )


def _family(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)


def _gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def _counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    # The library puts `_total` back on.
    return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
