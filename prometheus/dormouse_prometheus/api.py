"""Instant queries to Prometheus' HTTP API, with a hard limit of time and size; nothing but its JSON is believed.

Each failure says in words what came instead and what to do; the words go into the condition of each
ManagedModel, so they hold nothing that changes from one answer to the next.
"""

import asyncio
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic_core import from_json

from .collector import without_collector
from .errors import PrometheusThrottled, PrometheusUnauthorized, PrometheusUnavailable
from .settings import QUERY_TIMEOUT_SECONDS

# 10,000 replicas answer 3 MB to a query.
MAX_ANSWER_BYTES = 32 << 20
# Many namespaces make a long query, and a longer address is refused by some proxies.
MAX_GET_CHARACTERS = 4000
# Without a Retry-After that can be read; and no longer than an answer can keep us from looking again.
THROTTLED_SECONDS, MAX_THROTTLED_SECONDS = 30.0, 300.0
MAX_QUOTED_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Vector:
    """The answer to one instant query. `evaluated_at` is Unix seconds on Prometheus' own clock.

    warning: what the answer says of its own completeness (a store of Thanos that is away, a remote read that
        failed); what it has is right all the same.
    """

    evaluated_at: float
    samples: tuple[tuple[Mapping[str, str], float], ...]
    warning: str = ""


class PrometheusApi:
    """`client` brings transport and credentials; `url` is what comes before `/api/v1`."""

    def __init__(self, client: httpx.AsyncClient, url: str, timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._timeout_seconds = timeout_seconds

    async def query(self, promql: str, at: float | None = None) -> Vector:
        """Raises PrometheusUnavailable with the reason in words, whatever goes wrong.

        `at` pins the evaluation time, so that several queries see the same scrape.
        """
        # Prometheus should not go on with what we have given up.
        parameters = {"query": promql, "timeout": f"{self._timeout_seconds:g}"}
        if at is not None:
            parameters["time"] = repr(at)
        try:
            # httpx limits each read; a server that drips bytes would still hold us for ever.
            async with asyncio.timeout(self._timeout_seconds):
                return await self._ask(parameters)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise PrometheusUnavailable(f"Prometheus gave no answer within {self._timeout_seconds:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise _unreached(error) from error

    async def _ask(self, parameters: Mapping[str, str]) -> Vector:
        long = len(parameters["query"]) > MAX_GET_CHARACTERS
        request = (
            self._client.stream("POST", self._url, data=parameters)
            if long
            else self._client.stream("GET", self._url, params=parameters)
        )
        async with request as response:
            _refuse_what_is_no_answer(response)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise PrometheusUnavailable(
                        f"Prometheus' answer has more than {MAX_ANSWER_BYTES >> 20} MiB and was not read to its end; "
                        "give each operator fewer --namespaces"
                    )
        with without_collector():
            return _vector(response, body)


def _unreached(error: Exception) -> PrometheusUnavailable:
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return PrometheusUnavailable(
            f"Prometheus' certificate is not trusted ({tls.verify_message}); give its authority by "
            "--prometheus-ca-file, or its name by --prometheus-server-name"
        )
    if tls is not None and "ALERT" in (tls.reason or ""):
        return PrometheusUnauthorized(
            f"Prometheus refuses the TLS connection ({tls.reason}); does it want a client certificate? "
            "Give it by --prometheus-cert-file"
        )
    if tls is not None:
        return PrometheusUnavailable(
            f"there is no TLS with Prometheus ({tls.reason}); does it speak plain http? Check --prometheus-url"
        )
    if isinstance(error, httpx.ConnectError):
        return PrometheusUnavailable("Prometheus can't be reached; does it run, and is --prometheus-url right?")
    if isinstance(error, httpx.DecodingError):
        return PrometheusUnavailable("Prometheus' answer can't be unpacked; what stands between must not compress it")
    # A refused TLS client may see no more than this: the reset overtakes the alert.
    return PrometheusUnavailable(
        f"Prometheus broke off the connection ({type(error).__name__}); does it restart, or want a client certificate?"
    )


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _refuse_what_is_no_answer(response: httpx.Response) -> None:
    """By the head alone; such a body is not worth reading."""
    status = response.status_code
    if status in (401, 403):
        raise PrometheusUnauthorized(
            f"Prometheus refuses the operator's credentials (HTTP {status}); "
            "check the flags --prometheus-… that give them, and what they may read"
        )
    if response.is_redirect:
        raise _redirected(response)
    if status == 429 or (status == 503 and "retry-after" in response.headers):
        raise PrometheusThrottled(
            f"Prometheus asks the operator to come later (HTTP {status}); raise its limits or the operator's --tick",
            _retry_after(response.headers),
        )


def _redirected(response: httpx.Response) -> PrometheusUnavailable:
    """Never followed: it would take the credentials along, and what comes there is a page."""
    try:
        target = response.request.url.join(response.headers["location"])
        # What comes after the path may be secret.
        where = _quoted(f"{target.scheme}://{target.netloc.decode('latin-1').rpartition('@')[2]}{target.path}")
        same = target.host == urlsplit(str(response.request.url)).hostname
    except (httpx.InvalidURL, KeyError, ValueError):
        where, same = "somewhere", False
    if same and where.endswith("/api/v1/query"):
        return PrometheusUnavailable(f"Prometheus moved to {where}; write that address into --prometheus-url")
    return PrometheusUnauthorized(
        f"Prometheus' address leads to {where}, a login page perhaps (HTTP {response.status_code}); give "
        "credentials that are taken without one, or the address of Prometheus itself"
    )


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds or a date, which is compared with the server's own; never longer than we would wait anyway."""
    text = headers.get("retry-after", "").strip()
    seconds = THROTTLED_SECONDS
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    elif text:
        try:
            sent = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
            seconds = (parsedate_to_datetime(text) - sent).total_seconds()
        except (ValueError, TypeError, OverflowError):
            pass
    return min(max(seconds, 1.0), MAX_THROTTLED_SECONDS)


def _vector(response: httpx.Response, body: bytes | bytearray) -> Vector:
    status = response.status_code
    try:
        answer = from_json(body)
    except ValueError as error:
        kind = _quoted(response.headers.get("content-type", "no content type"))
        raise PrometheusUnavailable(
            f"what answers at the Prometheus URL is not its API (HTTP {status}, {kind}); check --prometheus-url"
        ) from error
    if status != 200 or not isinstance(answer, dict) or answer.get("status") != "success":
        detail = answer.get("error") if isinstance(answer, dict) else None
        raise PrometheusUnavailable(f"Prometheus answered HTTP {status}: {_quoted(detail or 'no error text')}")
    try:
        return _parse(answer)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise PrometheusUnavailable(
            "Prometheus answered JSON that is no instant vector; is --prometheus-url that of a Prometheus API?"
        ) from error


def _parse(answer: Mapping[str, Any]) -> Vector:
    data = answer["data"]
    if data["resultType"] != "vector":
        raise ValueError(data["resultType"])
    samples: list[tuple[Mapping[str, str], float]] = []
    for entry in data["result"]:
        labels, (_, value) = entry["metric"], entry["value"]
        if type(labels) is not dict or type(value) is not str:
            raise TypeError
        samples.append((labels, float(value)))
    evaluated_at = float(data["result"][0]["value"][0]) if samples else math.nan
    warnings = answer.get("warnings") or ()
    return Vector(evaluated_at, tuple(samples), _quoted(warnings[0]) if warnings else "")


def _quoted(text: object) -> str:
    """Foreign text for a condition: one line, not long."""
    return "".join(each if each.isprintable() else " " for each in str(text)[:MAX_QUOTED_CHARACTERS]).strip()
