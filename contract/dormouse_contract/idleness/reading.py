"""What is known of one replica, and the table of columns that it is made of.

A new column is a new line of `Reading` and nothing else: the queries (`dormouse_contract.promql.idle_signal`), the
joining, the reading of pods themselves and the comparing of two looks all follow from it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .. import metrics
from ..printable import printable
from ..residency import Residency
from ..wire import MAX_WORD_CHARACTERS
from .columns import (
    MOST_VALUES,
    Asked,
    Disbelieved,
    Values,
    agreed,
    as_column,
    column,
    counted,
    earliest,
    moment,
    present,
)

# What a clock may be ahead before its times are not believed; half a minute of drift is no rarity.
FUTURE_SECONDS = 60.0

ReplicaKey = tuple[str, str, str]
"""Namespace, pod and model, as the scrape labels them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One replica at the instant of the query. None is unknown; `fault` says why the whole is not believed.

    That one figure can't be is enough, also one that no decision is made of: whoever exports it is broken, or is
    another one than the labels say, and then nothing that it says may let a model sleep.

    Times are Unix seconds. Two readings are equal when all that a decision or a status depends on is the same, new
    columns included. Only `sampled_at` is left out: it is another one after each scrape, and what depends on it is
    whether the reading is fresh.

    unload_refused: the replica refused to be unloaded, since its changed weights would be lost, and was not used since.
    """

    residency: Residency | None = None
    in_flight: int | None = column(metrics.IN_FLIGHT, counted)
    idle_since: float | None = column(metrics.IDLE_SINCE, moment)
    sampled_at: float | None = column(metrics.IDLE_SINCE, earliest, Asked.TIMESTAMP, compared=False)
    last_transition: float | None = column(metrics.LAST_TRANSITION, moment)
    released_bytes: float | None = column(metrics.RELEASED, agreed)
    gpu_memory_bytes: float | None = column(metrics.GPU_MEMORY, agreed)
    transitioning: bool = column(metrics.TRANSITION_START, present, Asked.POSITIVE)
    unload_refused: bool = column(metrics.UNLOAD_REFUSED, present, Asked.POSITIVE)
    fault: str = ""


COLUMNS = tuple(found for each in fields(Reading) if (found := as_column(each)) is not None)
_TIERS = {str(tier) for tier in Residency}


def read(key: ReplicaKey, tiers: Collection[str], values: Mapping[str, Values]) -> Reading:
    """`tiers`: each that the replica says it is on. `values`: by column, what was found; absent is nothing."""
    faults: list[str] = []
    believed: dict[str, Any] = {}
    for each in COLUMNS:
        try:
            believed[each.name] = each.check(values.get(each.name, ()))
        except Disbelieved as error:
            faults.append(f"{each.name} {error}")
    residency = Residency(next(iter(tiers))) if len(tiers) == 1 and _TIERS.issuperset(tiers) else None
    if residency is None:
        faults.insert(0, _no_residency(sorted(tiers)))
    reading = Reading(residency=residency, **believed)
    faults += _contradictions(reading)
    if not faults:
        return reading
    fault = f"the series of {key[1]}/{key[2]} can't be believed: {'; '.join(faults)}"
    return Reading(residency=residency, **believed, fault=fault)


def _no_residency(tiers: list[str]) -> str:
    named = [printable(tier, MAX_WORD_CHARACTERS) for tier in tiers[: len(_TIERS)]]
    if len(tiers) == 1:
        return f"residency is {named[0] or 'empty'}, which is not known here"
    if len(tiers) > MOST_VALUES:
        return f"residency is more than {MOST_VALUES} tiers at once"
    return f"residency is {' and '.join(named) or 'empty'} at once"


def _contradictions(reading: Reading) -> list[str]:
    """What can't be true together, though each figure could be by itself."""
    found: list[str] = []
    if reading.in_flight == 0 and reading.idle_since == 0:
        found.append("idle_since is 0 (in use) while nothing is in flight")
    if (
        reading.idle_since is not None
        and reading.sampled_at is not None
        and reading.idle_since - reading.sampled_at > FUTURE_SECONDS
    ):
        found.append("idle_since lies ahead of Prometheus' clock, so set the clock of the pod's node")
    return found
