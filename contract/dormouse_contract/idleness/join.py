"""What was answered, joined by replica: one reading each, with what can't be believed of it."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .. import metrics
from ..wire import is_model_name
from .columns import MOST_VALUES, Values
from .reading import COLUMNS, Reading, ReplicaKey, read
from .signal import IdleSignal, ahead

# Of one answer's instant to another's, in seconds; what travels is rounded to milliseconds.
SAME_INSTANT_SECONDS = 0.1
NOT_ONE_INSTANT = "Prometheus did not answer for the instant that was asked for; is a cache before it?"
# What is ignored is counted for so many namespaces by name, and together for the rest.
MOST_NAMESPACES = 64
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# What pods export that the signal is made of.
EXPORTED = tuple(dict.fromkeys((metrics.RESIDENCY, *(each.metric for each in COLUMNS))))

Labels = Mapping[str, str]
Sample = tuple[Labels, float]
Exported = tuple[str, Labels, float, float | None]
"""A sample as a pod exports it: metric, labels, value, and when it was taken, where that is known (Unix seconds)."""


class Answer(Protocol):
    """What one query gave. `evaluated_at` is Unix seconds on the clock of who answered, NaN of an empty answer;
    `warning` is what it says of its own completeness."""

    @property
    def evaluated_at(self) -> float: ...

    @property
    def samples(self) -> Sequence[Sample]: ...

    @property
    def warning(self) -> str: ...


class Join:
    """The replicas that the first answer knows, by their tier; the others are reduced to columns as they come.

    An answer of 10,000 replicas is 10 MB of dicts, a column of it one; seven answers held at once were the most of
    what the operator took.
    """

    def __init__(self, residencies: Answer) -> None:
        self.evaluated_at = residencies.evaluated_at
        self._unlabelled = 0
        self._ignored: Counter[str] = Counter()
        self._first_warning = residencies.warning
        self._warnings: dict[str, str] = {}
        self._one_instant = True
        self._columns: dict[str, dict[ReplicaKey, Values]] = {}
        self._tiers: defaultdict[ReplicaKey, set[str]] = defaultdict(set)
        for labels, _ in residencies.samples:
            key = _key(labels)
            if key is None:
                self._unlabelled += 1
            elif not is_model_name(key[2]):
                self._ignore(key[0])
            elif len(tiers := self._tiers[key]) <= MOST_VALUES:
                tiers.add(str(labels.get("residency", "")))
        self._keys = {key: key for key in self._tiers}
        self.is_empty = not self._tiers and not self._unlabelled

    def add(self, name: str, answer: Answer) -> None:
        """The column `name`. Values that are given more than once are kept once, and one more than are looked at."""
        self._warnings[name] = answer.warning
        if not at_same_instant(answer, self.evaluated_at):
            self._one_instant = False
        column: dict[ReplicaKey, Values] = {}
        for labels, value in answer.samples:
            found = _key(labels)
            key = self._keys.get(found) if found is not None else None
            if key is None:
                continue
            known = column.get(key)
            if known is None:
                column[key] = (value,)
            elif len(known) <= MOST_VALUES and not any(_same(value, other) for other in known):
                column[key] = (*known, value)
        self._columns[name] = column

    def signal(self, asked_at: float = math.nan) -> IdleSignal:
        """`asked_at`: when the first question was asked, by our own clock; NaN where the two are one clock."""
        if not self._one_instant:
            return IdleSignal(failure=NOT_ONE_INSTANT)
        columns = list(self._columns.items())
        readings: dict[ReplicaKey, Reading] = {}
        models: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for key, tiers in self._tiers.items():
            readings[key] = read(key, tiers, {name: column[key] for name, column in columns if key in column})
            models[key[:2]].add(key[2])
        # Most pods have the same models.
        names: dict[frozenset[str], frozenset[str]] = {}
        by_pod = {pod: names.setdefault(each := frozenset(of_pod), each) for pod, of_pod in models.items()}
        return IdleSignal(
            readings,
            unlabelled=self._unlabelled,
            ignored=self._ignored,
            warning=self._warning(),
            models_by_pod=by_pod,
            evaluated_at=self.evaluated_at,
            clock_ahead_seconds=ahead(asked_at, self.evaluated_at),
        )

    def _ignore(self, namespace: str) -> None:
        named = _NAMESPACE.fullmatch(namespace) is not None
        known = namespace in self._ignored or len(self._ignored) < MOST_NAMESPACES
        self._ignored[namespace if named and known else ""] += 1

    def _warning(self) -> str:
        """The first in the order of the table: answers come in any order, and two looks must compare equal."""
        warnings = (self._first_warning, *(self._warnings.get(each.name, "") for each in COLUMNS))
        return next(filter(None, warnings), "")


def at_same_instant(answer: Answer, instant: float) -> bool:
    """Whether it may be joined with answers of `instant`. An empty one says nothing, so it may."""
    return not answer.samples or abs(answer.evaluated_at - instant) <= SAME_INSTANT_SECONDS


def build(residencies: Answer, answers: Mapping[str, Answer]) -> IdleSignal:
    """All at once. `answers` is by column."""
    fleet = Join(residencies)
    for name, answer in answers.items():
        fleet.add(name, answer)
    return fleet.signal()


def join_exported(samples: Iterable[Exported], evaluated_at: float, warning: str = "") -> Join:
    """From samples as they are exported, instead of from one answer for each column."""
    residencies: list[Sample] = []
    columns: dict[str, list[Sample]] = {each.name: [] for each in COLUMNS}
    for metric, labels, value, taken_at in samples:
        if metric == metrics.RESIDENCY.name:
            if value == 1:
                residencies.append((labels, value))
            continue
        for each in COLUMNS:
            found = each.asked.of(value, taken_at) if each.metric.name == metric else None
            if found is not None:
                columns[each.name].append((labels, found))
    fleet = Join(_Samples(evaluated_at, residencies, warning))
    for name, found_samples in columns.items():
        fleet.add(name, _Samples(evaluated_at, found_samples))
    return fleet


@dataclass(frozen=True, slots=True)
class _Samples:
    evaluated_at: float
    samples: Sequence[Sample]
    warning: str = ""


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _key(labels: Labels) -> ReplicaKey | None:
    namespace, pod, model = labels.get("namespace"), labels.get("pod"), labels.get("model")
    # JSON may hold anything; a label that is no text names nobody. Spelled out, as it runs 70,000 times a look.
    if type(namespace) is str and type(pod) is str and type(model) is str and namespace and pod and model:
        return (namespace, pod, model)
    return None
