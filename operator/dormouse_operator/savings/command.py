"""`dormouse-operator savings`: what sleeping saved, asked of Prometheus and printed."""

import argparse
import json
import re
import time

from dormouse_contract.ports import Port

from ..errors import SettingsError
from ..prometheus.api import PrometheusApi
from ..prometheus.connection import PrometheusConnection
from ..prometheus.flags import prometheus_settings
from ..quantity import from_quantity
from .ledger import Price, as_table
from .query import read_ledger

# A month of a large fleet is more work for Prometheus than a look at the present.
QUERY_SECONDS = 60.0
LONGEST_SECONDS = 366 * 24 * 3600
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
EXAMPLES = """\
examples:
  the last week, for the whole fleet:
    dormouse-operator savings --prometheus-url http://prometheus.monitoring:9090
  one namespace over a day, as JSON, with an upper bound in money:
    dormouse-operator savings --since 1d --namespace speech --price-per-gpu-hour 2.5 --gpu-memory 80Gi -o json
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", default="7d", help="how far back: a number with s, m, h, d or w (default 7d)")
    command.add_argument("--namespace", default=None, help="only this namespace; by default all")
    command.add_argument(
        "--price-per-gpu-hour", default=None, help="of one GPU, in your money; adds an upper bound, needs --gpu-memory"
    )
    command.add_argument("--gpu-memory", default=None, help="of one GPU, for example 80Gi")
    command.add_argument(
        "-o", "--output", default="table", choices=("table", "json"), help="what is printed (default table)"
    )


async def run(given: argparse.Namespace) -> str:
    """What is printed. Raises SettingsError and SignalUnavailable with what to do."""
    settings = prometheus_settings(given, patience_seconds=QUERY_SECONDS)
    connection = PrometheusConnection(settings)
    try:
        return await told(given, PrometheusApi(await connection.client(), settings.url, settings.timeout_seconds))
    finally:
        await connection.close()


async def told(given: argparse.Namespace, prometheus: PrometheusApi) -> str:
    """The same from a Prometheus that is reached in whatever way."""
    seconds = _duration(given.since)
    price = _price(given.price_per_gpu_hour, given.gpu_memory)
    if given.namespace is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", given.namespace):
        raise SettingsError(f"--namespace is {given.namespace!r}; write the name of a namespace, for example speech")
    now = time.time()
    book = await read_ledger(
        prometheus,
        since=now - seconds,
        until=now,
        scrape_interval_seconds=_positive("--scrape-interval", given.scrape_interval),
        namespace=given.namespace,
    )
    if given.output == "json":
        return json.dumps(book.as_json(price), indent=2)
    if not book.models:
        where = f"namespace {given.namespace}" if given.namespace else "any namespace"
        return (
            f"Prometheus has no figures of replicas in {where} over the last {given.since}. "
            f"Are their sidecars scraped (port {Port.SIDECAR})?"
        )
    return as_table(book, price)


def _duration(text: str) -> int:
    found = re.fullmatch(r"(\d+)([smhdw])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise SettingsError(f"--since is {text!r}; write a number with s, m, h, d or w, for example 7d (at most 366d)")
    return seconds


def _price(per_hour: str | None, gpu_memory: str | None) -> Price | None:
    if per_hour is None and gpu_memory is None:
        return None
    if per_hour is None or gpu_memory is None:
        raise SettingsError(
            "an upper bound in money needs both --price-per-gpu-hour and --gpu-memory (what one GPU has, for "
            "example 80Gi): give the other one as well, or neither"
        )
    try:
        size = from_quantity(gpu_memory)
    except ValueError as error:
        raise SettingsError(f"--gpu-memory is {gpu_memory!r}; write what one GPU has, for example 80Gi") from error
    return Price(_positive("--price-per-gpu-hour", per_hour), size)


def _positive(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingsError(f"{flag} is {text!r}; write a number above 0")
    return value
