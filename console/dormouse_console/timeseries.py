"""Prometheus, for the figures that no object of the API server has. Without it the page goes on and says so."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx
from dormouse_prometheus.errors import PrometheusUnavailable

from .errors import ConsoleError

Labels = Mapping[str, str]


class NoFigures(ConsoleError):
    """Prometheus gave no answer that can be shown; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are (Unix seconds, value), in order; one of an instant query. No NaN is among them."""

    labels: Labels
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """`client` gives one with the credentials of this moment; None when no Prometheus is configured.

    url: what comes before `/api/v1`; empty where the client knows it.
    """

    def __init__(self, client: Callable[[], Awaitable[httpx.AsyncClient]] | None, url: str = "") -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}/" if url else ""

    @classmethod
    def through(cls, http: httpx.AsyncClient) -> Self:
        """By a client that has the address and the way."""

        async def same() -> httpx.AsyncClient:
            return http

        return cls(same)

    @property
    def configured(self) -> bool:
        return self._client is not None

    async def instant(self, promql: str, at: float) -> list[Series]:
        return await self._ask("api/v1/query", {"query": promql, "time": f"{at:.3f}"})

    async def over_time(self, promql: str, start: float, end: float, step: int) -> list[Series]:
        asked = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(step)}
        return await self._ask("api/v1/query_range", asked)

    async def _ask(self, path: str, asked: Mapping[str, str]) -> list[Series]:
        if self._client is None:
            raise NoFigures("The console was started without --prometheus-url, so there are no figures over time")
        try:
            # As a form: a query over many pods is longer than an address may be.
            response = await (await self._client()).post(self._url + path, data=dict(asked))
        except PrometheusUnavailable as error:
            raise NoFigures(str(error)) from error
        except httpx.HTTPError as error:
            raise NoFigures(f"Prometheus does not answer ({type(error).__name__})") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise NoFigures(f"What answers as Prometheus is something else (HTTP {response.status_code})") from error
        if not isinstance(answer, dict) or answer.get("status") != "success":
            why = answer.get("error") if isinstance(answer, dict) else None
            raise NoFigures(f"Prometheus answered HTTP {response.status_code}: {str(why or 'no reason given')[:300]}")
        return [_series(entry) for entry in answer["data"]["result"]]


def _series(entry: Mapping[str, Any]) -> Series:
    samples = entry["values"] if "values" in entry else [entry["value"]]
    points = ((float(at), float(value)) for at, value in samples)
    return Series(entry["metric"], tuple(point for point in points if math.isfinite(point[1])))
