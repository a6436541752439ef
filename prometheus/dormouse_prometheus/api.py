"""Queries to Prometheus' HTTP API, instant and over a range, with a hard limit of time and size."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import httpx

from .answers import Series, Vector, matrix, vector
from .errors import PrometheusAnswerTooLarge, PrometheusTooMuchAsked
from .garbage import without_collector
from .refusals import refuse_what_is_no_answer, unreached
from .settings import QUERY_TIMEOUT_SECONDS
from .together import together

# 10,000 replicas answer 3 MB to a query.
MAX_ANSWER_BYTES = 32 << 20
# Many namespaces make a long query, and a longer address is refused by some proxies.
MAX_GET_CHARACTERS = 4000


class Prometheus(Protocol):
    """Who answers queries. Each raises PrometheusUnavailable with the reason in words, whatever goes wrong."""

    async def query(self, promql: str, at: float | None = None, *, max_bytes: int | None = None) -> Vector:
        """`at` pins the evaluation time, so that several queries see the same scrape. `max_bytes`: of this answer,
        where it is less than that of all. Raises PrometheusTooMuchAsked where less at once may be answered."""

    async def query_range(self, promql: str, start: float, end: float, step: int) -> tuple[Series, ...]:
        """From `start` to `end`, Unix seconds, at every `step` seconds."""


async def at_one_instant(prometheus: Prometheus, queries: Mapping[str, str], at: float) -> dict[str, Vector]:
    """The answers by the queries' names. Raises PrometheusUnavailable when one of them fails."""
    vectors = await together(*(prometheus.query(promql, at) for promql in queries.values()))
    return dict(zip(queries, vectors, strict=True))


class PrometheusApi:
    """`client` brings transport and credentials; `url` is what comes before `/api/v1`."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        timeout_seconds: float = QUERY_TIMEOUT_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}/api/v1"
        self._timeout_seconds = timeout_seconds
        self._max_answer_bytes = max_answer_bytes

    async def query(self, promql: str, at: float | None = None, *, max_bytes: int | None = None) -> Vector:
        asked = {"query": promql} if at is None else {"query": promql, "time": repr(at)}
        limit = self._max_answer_bytes if max_bytes is None else min(max_bytes, self._max_answer_bytes)
        response, body = await self._answer("query", asked, limit)
        with without_collector():
            return vector(response.status_code, response.headers.get("content-type", ""), body)

    async def query_range(self, promql: str, start: float, end: float, step: int) -> tuple[Series, ...]:
        asked = {"query": promql, "start": repr(start), "end": repr(end), "step": str(step)}
        response, body = await self._answer("query_range", asked, self._max_answer_bytes)
        with without_collector():
            return matrix(response.status_code, response.headers.get("content-type", ""), body)

    async def _answer(self, path: str, asked: Mapping[str, str], limit: int) -> tuple[httpx.Response, bytearray]:
        # Prometheus should not go on with what we have given up.
        parameters = {**asked, "timeout": f"{self._timeout_seconds:g}"}
        try:
            # httpx limits each read; a server that drips bytes would still hold us for ever.
            async with asyncio.timeout(self._timeout_seconds):
                return await self._ask(f"{self._url}/{path}", parameters, limit)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise PrometheusTooMuchAsked(f"Prometheus gave no answer within {self._timeout_seconds:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise unreached(error) from error

    async def _ask(self, url: str, parameters: Mapping[str, str], limit: int) -> tuple[httpx.Response, bytearray]:
        long = len(parameters["query"]) > MAX_GET_CHARACTERS
        request = (
            self._client.stream("POST", url, data=parameters)
            if long
            else self._client.stream("GET", url, params=parameters)
        )
        async with request as response:
            refuse_what_is_no_answer(response)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    raise PrometheusAnswerTooLarge(
                        f"Prometheus' answer has more than {size(limit)} and was not read to its end; ask for fewer "
                        "namespaces, or for a shorter time"
                    )
            return response, body


def size(limit: int) -> str:
    """Of an answer, for people."""
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
