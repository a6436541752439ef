"""What somebody asks of the savings, by the flags that `dormouse-operator` and `kubectl dormouse` share."""

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..ports import Port
from ..promql import savings
from ..quantity import from_quantity, positive
from .answers import Samples, read_ledger
from .ledger import Price, as_table

LONGEST_SECONDS = 366 * 24 * 3600
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class BadQuestion(ValueError):
    """The text names the flag and what to write instead."""


@dataclass(frozen=True, slots=True)
class Question:
    """seconds: how far back. namespace: None for all. since: as it was typed, for the answer."""

    seconds: int
    since: str
    namespace: str | None
    scrape_interval_seconds: float
    price: Price | None
    as_json: bool

    def queries(self, of_pods: tuple[str, ...]) -> dict[str, str]:
        """PromQL by name; to be asked for one instant. `of_pods`: matchers of the jobs that are believed."""
        return savings.queries(self.seconds, self.namespace, of_pods)

    def answer(self, answers: Mapping[str, Samples], now: float) -> str:
        """What is printed. `answers` by the names of `queries`, `now` their instant."""
        book = read_ledger(
            answers, since=now - self.seconds, until=now, scrape_interval_seconds=self.scrape_interval_seconds
        )
        if self.as_json:
            return json.dumps(book.as_json(self.price), indent=2)
        if not book.models:
            where = f"namespace {self.namespace}" if self.namespace else "any namespace"
            return (
                f"Prometheus has no figures of replicas in {where} over the last {self.since}. "
                f"Are their sidecars scraped (port {Port.SIDECAR})?"
            )
        return as_table(book, self.price)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """All but --namespace and --scrape-interval, which differ between the commands."""
    command.add_argument("--since", default="7d", help="how far back: a number with s, m, h, d or w (default 7d)")
    command.add_argument(
        "--price-per-gpu-hour", default=None, help="of one GPU, in your money; adds an upper bound, needs --gpu-memory"
    )
    command.add_argument("--gpu-memory", default=None, help="of one GPU, for example 80Gi")
    command.add_argument(
        "-o", "--output", default="table", choices=("table", "json"), help="what is printed (default table)"
    )


def question(given: argparse.Namespace) -> Question:
    """Raises BadQuestion for what makes no sense."""
    if given.namespace is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", given.namespace):
        raise BadQuestion(f"--namespace is {given.namespace!r}; write the name of a namespace, for example speech")
    return Question(
        seconds=_duration(given.since),
        since=given.since,
        namespace=given.namespace,
        scrape_interval_seconds=_positive("--scrape-interval", given.scrape_interval),
        price=_price(given.price_per_gpu_hour, given.gpu_memory),
        as_json=given.output == "json",
    )


def _duration(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise BadQuestion(f"--since is {text!r}; write a number with s, m, h, d or w, for example 7d (at most 366d)")
    return seconds


def _price(per_hour: str | None, gpu_memory: str | None) -> Price | None:
    if per_hour is None and gpu_memory is None:
        return None
    if per_hour is None or gpu_memory is None:
        raise BadQuestion(
            "an upper bound in money needs both --price-per-gpu-hour and --gpu-memory (what one GPU has, for "
            "example 80Gi): give the other one as well, or neither"
        )
    try:
        size = from_quantity(gpu_memory)
    except ValueError as error:
        raise BadQuestion(f"--gpu-memory is {gpu_memory!r}; write what one GPU has, for example 80Gi") from error
    return Price(_positive("--price-per-gpu-hour", per_hour), size)


def _positive(flag: str, text: str) -> float:
    try:
        return positive(text)
    except ValueError:
        raise BadQuestion(f"{flag} is {text!r}; write a number above 0") from None
