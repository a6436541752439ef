"""Asks Prometheus for the idle signal of the fleet.

One query per metric for all namespaces that have ManagedModels, all evaluated at one instant, so that a reading is one
scrape and not a mixture. What is too much for one answer is asked in parts (`split.py`). An instant query answers
samples that are up to five minutes old under the time of the evaluation; so the age is asked for as well
(`timestamp(…)`), and it is Prometheus' clock on both sides.

Three clocks meet in an idle time: the pod's (since when), Prometheus' and ours (now). A pod that is behind
or an operator that is ahead makes a model look idle for longer than it is; the replica then refuses the
order by its own clock. So that we don't order in vain, the earlier of Prometheus' clock and ours counts as
now, and a time that lies ahead of its own scrape is not believed.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from dormouse_contract.idleness import NOT_ONE_INSTANT, IdleSignal, Join, at_same_instant
from dormouse_contract.promql import idle_signal
from dormouse_prometheus.answers import Vector
from dormouse_prometheus.api import Prometheus, size
from dormouse_prometheus.errors import PrometheusAnswerTooLarge, PrometheusTooMuchAsked, PrometheusUnavailable
from dormouse_prometheus.garbage import without_collector
from dormouse_prometheus.settings import QUERY_TIMEOUT_SECONDS
from dormouse_prometheus.together import together

from .failure import failed
from .parts import BYTES_OF_ANY_PART, Part
from .split import Split
from .wanted import Wanted

# Each answer may be 3 MB, and is reduced when it is there.
QUERIES_AT_ONCE = 2
# Of one question: enough to find one in 32 namespaces each noisy, and no storm on a Prometheus that answers nobody.
MOST_IN_VAIN = 64


class SignalReader:
    """One look after the other. Between them it remembers what was too much for one answer.

    selector: matchers that each series must have. look_seconds: when so much time is over, nobody who is too large is
    looked for any more, until the next look: two answers that are waited for in vain, so that a pass comes to its end.
    """

    def __init__(
        self,
        *,
        selector: Sequence[str] = (),
        look_seconds: float = 2 * QUERY_TIMEOUT_SECONDS,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._selector = selector
        self._look_seconds = look_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._split = Split()

    async def read(self, prometheus: Prometheus, wanted: Wanted) -> IdleSignal:
        """Never raises for what Prometheus does: then nothing is known, with the reason in `failure`."""
        asked_at, deadline = self._clock(), self._monotonic() + self._look_seconds
        self._split.begin(wanted)
        look = _Look(prometheus, self._split, self._selector, lambda: self._monotonic() >= deadline)
        try:
            fleet, unlabelled = await _join(look)
        except PrometheusTooMuchAsked as error:
            self._split.forget()
            return failed(error)
        except PrometheusUnavailable as error:
            return failed(error)
        self._split.end()
        with without_collector():
            signal = fleet.signal(asked_at)
        return replace(
            signal,
            unlabelled=signal.unlabelled + unlabelled,
            asked=frozenset(wanted.pods_in),
            unread=dict(_unread(self._split)),
            too_large=self._split.too_large,
        )


async def _join(look: "_Look") -> tuple[Join, int]:
    """The fleet, and how many series lack their namespace where nobody is known."""
    first = await look.ask(idle_signal.residencies)
    with without_collector():
        fleet = Join(first)
    del first

    async def add(name: str) -> None:
        vector = await look.ask(lambda *matchers: idle_signal.columns(*matchers)[name])
        with without_collector():
            fleet.add(name, vector)

    if fleet.is_empty:
        return fleet, await look.unlabelled() or 0
    await together(*map(add, idle_signal.columns()))
    return fleet, 0


class _Look:
    """Asks one question after the other for all parts, for the instant of the first answer."""

    def __init__(
        self, prometheus: Prometheus, split: Split, selector: Sequence[str], is_over: Callable[[], bool]
    ) -> None:
        self._prometheus = prometheus
        self._split = split
        self._selector = selector
        self._is_over = is_over
        self._room = asyncio.Semaphore(QUERIES_AT_ONCE)
        self._at: float | None = None

    async def ask(self, about: Callable[..., str]) -> Vector:
        """`about` makes a query of matchers. What is too much is asked in parts, until only the cause is unknown.

        Raises PrometheusUnavailable when it is Prometheus that answers nothing.
        """
        waiting, doubtful = map(deque, self._split.parts())
        answers: list[Vector] = []
        too_much: list[PrometheusTooMuchAsked] = []
        while waiting or doubtful:
            is_doubtful = not waiting
            part = (waiting or doubtful).popleft()
            if is_doubtful and (self._is_over() or (not answers and len(too_much) >= MOST_IN_VAIN)):
                self._split.left(part)
                continue
            try:
                answers.append(await self._query(part, about))
            except PrometheusTooMuchAsked as error:
                too_much.append(error)
                doubtful.extend(self._split.failed(part, await self._sizes(part, about, error)))
        if too_much and not answers and not await self._is_well(too_much):
            raise too_much[0]
        return self._together(answers)

    async def unlabelled(self) -> int | None:
        """None where Prometheus does not answer even that."""
        try:
            found = await self._prometheus.query(
                idle_signal.unlabelled(*self._selector), self._at, max_bytes=BYTES_OF_ANY_PART
            )
        except PrometheusUnavailable:
            return None
        return next((int(value) for _, value in found.samples if math.isfinite(value)), 0)

    async def _is_well(self, too_much: Sequence[PrometheusTooMuchAsked]) -> bool:
        """Whether Prometheus answers as such, though none of what was asked: all whom we want are too large then."""
        by_size = all(isinstance(each, PrometheusAnswerTooLarge) for each in too_much)
        return by_size and await self.unlabelled() is not None

    async def _sizes(
        self, part: Part, about: Callable[..., str], error: PrometheusTooMuchAsked
    ) -> dict[tuple[str, ...], int]:
        """How many series each of its units has; empty where Prometheus had no answer to read from."""
        if len(part.units) < 2 or not isinstance(error, PrometheusAnswerTooLarge):
            return {}
        query, limit = part.query(about, self._selector), self._split.limit_bytes(part)
        try:
            async with self._room:
                sizes = await self._prometheus.query(idle_signal.sizes(query, *part.labels), self._at, max_bytes=limit)
        except PrometheusTooMuchAsked:
            return {}
        return {
            tuple(labels.get(label, "") for label in part.labels): int(value)
            for labels, value in sizes.samples
            if math.isfinite(value)
        }

    async def _query(self, part: Part, about: Callable[..., str]) -> Vector:
        query, limit = part.query(about, self._selector), self._split.limit_bytes(part)
        async with self._room:
            vector = await self._prometheus.query(query, self._at, max_bytes=limit)
        if self._at is None and vector.samples:
            self._at = vector.evaluated_at
        return vector

    def _together(self, answers: Sequence[Vector]) -> Vector:
        """As one answer. Raises PrometheusUnavailable where they are of several instants."""
        if len(answers) == 1:
            return answers[0]
        at = self._at if self._at is not None else math.nan
        if not all(at_same_instant(each, at) for each in answers):
            raise PrometheusUnavailable(NOT_ONE_INSTANT)
        return Vector(
            at,
            tuple(chain.from_iterable(each.samples for each in answers)),
            next((each.warning for each in answers if each.warning), ""),
        )


def _unread(split: Split) -> Iterator[tuple[tuple[str, ...], str]]:
    for unit in split.not_in_time:
        what = f"namespace {unit[0]}" if len(unit) == 1 else f"pod {unit[1]} of namespace {unit[0]}"
        yield unit, f"Prometheus did not answer for {what} in this look; the next one asks in smaller parts"
    for namespace, pod in split.pods_too_large:
        limit = size(Part(pods=((namespace, pod),)).limit_bytes({}))
        yield (
            (namespace, pod),
            f"pod {pod} of namespace {namespace} has more series of the idle signal than one answer may hold for it "
            f"({limit}); see what it exports, and limit its scrape (sample_limit)",
        )
