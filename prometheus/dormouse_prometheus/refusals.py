"""What came instead of an answer, as an error with a sentence. Pure.

The words go into the condition of each ManagedModel, so they hold nothing that changes from one failure to the next.
"""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from .answers import quoted
from .errors import PrometheusThrottled, PrometheusUnauthorized, PrometheusUnavailable

# Without a Retry-After that can be read; and no longer than an answer can keep us from looking again.
THROTTLED_SECONDS, MAX_THROTTLED_SECONDS = 30.0, 300.0


def unreached(error: Exception) -> PrometheusUnavailable:
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


def refuse_what_is_no_answer(response: httpx.Response) -> None:
    """By the head alone; such a body is not worth reading."""
    status = response.status_code
    if status in (401, 403):
        raise PrometheusUnauthorized(
            f"Prometheus refuses our credentials (HTTP {status}); check the flags --prometheus-… that give them, "
            "and what they may read"
        )
    if response.is_redirect:
        raise _redirected(response)
    if status == 429 or (status == 503 and "retry-after" in response.headers):
        raise PrometheusThrottled(
            f"Prometheus asks us to come later (HTTP {status}); raise its limits, or ask less often",
            _retry_after(response.headers),
        )


def _redirected(response: httpx.Response) -> PrometheusUnavailable:
    """Never followed: it would take the credentials along, and what comes there is a page."""
    try:
        target = response.request.url.join(response.headers["location"])
        # What comes after the path may be secret.
        where = quoted(f"{target.scheme}://{target.netloc.decode('latin-1').rpartition('@')[2]}{target.path}")
        same = target.host == urlsplit(str(response.request.url)).hostname
    except (httpx.InvalidURL, KeyError, ValueError):
        where, same = "somewhere", False
    if same and where.endswith(("/api/v1/query", "/api/v1/query_range")):
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
