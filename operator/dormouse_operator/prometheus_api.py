"""Instant queries to Prometheus' HTTP API, with a hard time limit, and nothing believed that is not JSON."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import SignalUnavailable

QUERY_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Vector:
    """The answer to one instant query. `evaluated_at` is Unix seconds on Prometheus' own clock."""

    evaluated_at: float
    samples: tuple[tuple[Mapping[str, str], float], ...]


class PrometheusApi:
    """`client` brings transport and credentials; `url` is what comes before `/api/v1`."""

    def __init__(self, client: httpx.AsyncClient, url: str, timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._timeout_seconds = timeout_seconds

    async def query(self, promql: str, at: float | None = None) -> Vector:
        """Raises SignalUnavailable with the reason in words, whatever goes wrong.

        `at` pins the evaluation time, so that several queries see the same scrape.
        """
        parameters = {"query": promql} if at is None else {"query": promql, "time": repr(at)}
        try:
            # httpx limits each read; a server that drips bytes would still hold us for ever.
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.get(self._url, params=parameters)
        except TimeoutError as error:
            raise SignalUnavailable(f"Prometheus gave no answer within {self._timeout_seconds:g} s") from error
        except httpx.HTTPError as error:
            raise SignalUnavailable(f"Prometheus can't be reached ({type(error).__name__})") from error
        return _vector(response)


def _vector(response: httpx.Response) -> Vector:
    status = response.status_code
    if status in (401, 403):
        raise SignalUnavailable(f"Prometheus refuses the operator's credentials (HTTP {status})")
    try:
        answer = response.json()
    except ValueError as error:
        kind = response.headers.get("content-type", "no content type")
        raise SignalUnavailable(
            f"what answers at the Prometheus URL is not its API (HTTP {status}, {kind}); check --prometheus-url"
        ) from error
    if status != 200 or not isinstance(answer, dict) or answer.get("status") != "success":
        detail = answer.get("error") if isinstance(answer, dict) else None
        raise SignalUnavailable(f"Prometheus answered HTTP {status}: {str(detail or 'no error text')[:200]}")
    try:
        return _parse(answer["data"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SignalUnavailable("Prometheus answered JSON that is no instant vector") from error


def _parse(data: Any) -> Vector:
    if data["resultType"] != "vector":
        raise ValueError(data["resultType"])
    samples = tuple((entry["metric"], float(entry["value"][1])) for entry in data["result"])
    evaluated_at = float(data["result"][0]["value"][0]) if data["result"] else math.nan
    return Vector(evaluated_at, samples)
