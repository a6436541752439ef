"""What the page shows of Prometheus: figures as JSON can hold them, or a sentence that says why there are none.

The page goes on without figures, so each failure of the client becomes `NoFigures` here, whose text is shown as it is.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from dormouse_prometheus.answers import Labels, Vector
from dormouse_prometheus.api import Prometheus
from dormouse_prometheus.errors import PrometheusThrottled, PrometheusUnavailable

from .errors import ConsoleError


class NoFigures(ConsoleError):
    """Prometheus gave no answer that can be shown; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are (Unix seconds, value), in order; one of an instant query. Each value is finite."""

    labels: Labels
    points: tuple[tuple[float, float], ...]


class TimeSeries:
    """`prometheus` is None where none is configured. `monotonic` is the clock of a rest that Prometheus asked for.

    selector: label matchers of the jobs whose series of pods are believed, for who writes a query; empty for all.
    """

    def __init__(
        self,
        prometheus: Prometheus | None,
        *,
        selector: tuple[str, ...] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prometheus = prometheus
        self.selector = selector
        self._monotonic = monotonic
        self._resting = ""
        self._resting_until = -math.inf

    @property
    def configured(self) -> bool:
        return self._prometheus is not None

    async def vector(self, promql: str, at: float | None = None) -> Vector:
        """The answer as it is, NaN and all. `at` pins the instant; None is now, by the clock of Prometheus."""
        try:
            return await self._awake().query(promql, at)
        except PrometheusUnavailable as error:
            raise self._no_figures(error) from error

    async def instant(self, promql: str, at: float | None = None) -> list[Series]:
        """`at` as for `vector`."""
        vector = await self.vector(promql, at)
        return [Series(labels, _finite((vector.evaluated_at, value))) for labels, value in vector.samples]

    async def over_time(self, promql: str, start: float, end: float, step: int) -> list[Series]:
        try:
            found = await self._awake().query_range(promql, start, end, step)
        except PrometheusUnavailable as error:
            raise self._no_figures(error) from error
        return [Series(each.labels, _finite(*each.points)) for each in found]

    def _awake(self) -> Prometheus:
        if self._prometheus is None:
            raise NoFigures("The console was started without --prometheus-url, so there are no figures over time")
        if self._monotonic() < self._resting_until:
            raise NoFigures(self._resting)
        return self._prometheus

    def _no_figures(self, error: PrometheusUnavailable) -> NoFigures:
        if isinstance(error, PrometheusThrottled):
            # For everybody's page: it is the same Prometheus.
            self._resting, self._resting_until = str(error), self._monotonic() + error.retry_after_seconds
        return NoFigures(str(error))


def _finite(*points: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return tuple(point for point in points if math.isfinite(point[1]))
