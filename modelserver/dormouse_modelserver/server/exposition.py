"""`/metrics` of the model process: the events counted so far and the state of each slot now."""

import math
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from dormouse_contract import Residency, metrics
from dormouse_contract.wire import ModelSnapshot
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..lifecycle import background
from ..lifecycle.device import DeviceMemory
from ..lifecycle.registry import Registry
from ..lifecycle.room.host_memory import read_host_memory
from ..lifecycle.view import SlotFigures

_Family = GaugeMetricFamily | CounterMetricFamily
_FAMILIES: dict[metrics.MetricType, Any] = {
    metrics.MetricType.GAUGE: GaugeMetricFamily,
    metrics.MetricType.COUNTER: CounterMetricFamily,
}
_FROM_SNAPSHOT: dict[metrics.Metric, Callable[[ModelSnapshot], float]] = {
    metrics.IN_FLIGHT: lambda s: s.in_flight,
    metrics.HELD_REQUESTS: lambda s: s.waiting,
    metrics.LAST_REQUEST_END: lambda s: s.last_request_end,
    metrics.TRANSITION_START: lambda s: s.transition.started_at if s.transition else 0,
    metrics.LAST_TRANSITION: lambda s: s.last_transition.time if s.last_transition else 0,
    metrics.GPU_MEMORY: lambda s: s.gpu_memory_bytes,
    metrics.HOST_MEMORY: lambda s: s.host_memory_bytes,
    metrics.RELEASED: lambda s: s.gpu_memory_released_bytes,
    metrics.RESTORE_ESTIMATE: lambda s: math.nan if s.restore_estimate_seconds is None else s.restore_estimate_seconds,
}
_FROM_FIGURES: dict[metrics.Metric, Callable[[SlotFigures], float]] = {
    metrics.IDLE_SINCE: lambda f: f.idle_since,
    metrics.OLDEST_USE: lambda f: f.oldest_use,
    metrics.RELEASED_BYTE_SECONDS: lambda f: f.released_byte_seconds,
    metrics.RESIDUAL: lambda f: f.residual_bytes,
    metrics.UNLOAD_REFUSED: lambda f: f.unload_refused,
}


def render_metrics(registry: Registry, memory: DeviceMemory | None) -> bytes:
    """Prometheus' text format. Each model's figures are of one moment. Asks the device nothing.

    memory: the device's, as it was just measured; None where it could not be, and is then left out.
    """
    exported = CollectorRegistry()
    exported.register(_StateCollector(registry, memory))
    return generate_latest(exported)


class _StateCollector(Collector):
    def __init__(self, registry: Registry, memory: DeviceMemory | None) -> None:
        self._registry, self._memory = registry, memory

    def collect(self) -> Iterator[Metric]:
        for events in self._registry.telemetry.registry.collect():
            # When a series was created is of no use to anyone here and doubles their number.
            events.samples = [sample for sample in events.samples if not sample.name.endswith("_created")]
            yield events
        yield from self._models()
        yield from self._process()

    def _models(self) -> Iterator[Metric]:
        snapshots = self._registry.snapshots()
        figures = {slot.name: slot.view.figures() for slot in self._registry.slots()}
        residency = _family(metrics.RESIDENCY)
        info = _family(metrics.GPU_INFO)
        for snapshot in snapshots:
            for tier in Residency:
                residency.add_metric([snapshot.name, tier], float(snapshot.residency is tier))
            info.add_metric([snapshot.name, self._registry.device.gpu_uuid, snapshot.device], 1)
        yield residency
        yield info
        for metric, read in _FROM_SNAPSHOT.items():
            family = _family(metric)
            for snapshot in snapshots:
                family.add_metric([snapshot.name], read(snapshot))
            yield family
        for metric, read_figure in _FROM_FIGURES.items():
            family = _family(metric)
            for name, figure in figures.items():
                family.add_metric([name], read_figure(figure))
            yield family

    def _process(self) -> Iterator[Metric]:
        held = _family(metrics.PROCESS_GPU_MEMORY)
        if self._memory is not None and self._memory.used_by_this_process is not None:
            held.add_metric([self._registry.device.gpu_uuid], self._memory.used_by_this_process)
        yield held
        budget = _family(metrics.HOST_MEMORY_BUDGET)
        budget.add_metric([], read_host_memory().budget)
        yield budget
        background.start_missing()
        failures = _family(metrics.BACKGROUND_FAILURES)
        for thread, count in background.failures().items():
            failures.add_metric([thread], count)
        yield failures
        build = _family(metrics.BUILD_INFO)
        build.add_metric([version("dormouse")], 1)
        yield build


def _family(metric: metrics.Metric) -> _Family:
    made: _Family = _FAMILIES[metric.type](metric.name, metric.help, labels=metric.labels)
    return made
