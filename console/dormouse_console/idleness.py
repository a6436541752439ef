"""Asks Prometheus for the idle signal of a few pods, so that the page gives the verdict that the operator gives.

What is asked and what is made of it is the contract's. All of it is of one instant on the clock of Prometheus: that of
the first answer.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from dormouse_contract import metrics
from dormouse_contract.idleness import Exported, IdleSignal, ReplicaKey, Seen, fresh_for_seconds, join_exported
from dormouse_contract.promql import idle_signal
from dormouse_contract.promql.selection import equals, one_of
from dormouse_prometheus.answers import Vector
from dormouse_prometheus.together import together

from .timeseries import TimeSeries

SHOWN = (metrics.HOST_MEMORY, metrics.RESTORE_ESTIMATE, metrics.GPU_INFO)
"""Asked for along with the signal, since they are shown beside it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What no verdict needs. `host_bytes` and `restore_seconds` are None where nobody exported a number."""

    device: str = ""
    host_bytes: float | None = None
    restore_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """fresh_for_seconds: how old a sample may be, as the operator says it."""

    signal: IdleSignal
    fresh_for_seconds: float
    shown: dict[ReplicaKey, Shown]

    def see(self, key: ReplicaKey) -> Seen:
        return self.signal.see(key, self.fresh_for_seconds)


async def look(prometheus: TimeSeries, namespace: str, pods: Iterable[str]) -> Look:
    """Raises NoFigures."""
    matchers = (equals("namespace", namespace), one_of("pod", pods), *prometheus.selector)
    asked_at = time.time()
    first = await prometheus.vector(idle_signal.exported(*matchers, also=SHOWN))
    at = first.evaluated_at if first.samples else None
    times = idle_signal.times(*matchers)
    limit, *taken = await together(
        prometheus.vector(idle_signal.fresh_for(), at), *(prometheus.vector(query, at) for query in times.values())
    )
    fleet = join_exported(_exported(first), first.evaluated_at, first.warning)
    for name, answer in zip(times, taken, strict=True):
        fleet.add(name, answer)
    return Look(fleet.signal(asked_at), _limit(limit), _shown(first))


def _exported(answer: Vector) -> Iterable[Exported]:
    return ((str(labels.get("__name__", "")), labels, value, None) for labels, value in answer.samples)


def _limit(answer: Vector) -> float:
    """An operator that does not say it (yet) has the usual one, as far as we know."""
    said = next((value for _, value in answer.samples), math.nan)
    return said if math.isfinite(said) else fresh_for_seconds()


def _shown(answer: Vector) -> dict[ReplicaKey, Shown]:
    """Where two jobs scraped one replica, the higher counts, as everywhere."""
    devices: dict[ReplicaKey, str] = {}
    numbers: dict[tuple[ReplicaKey, str], float] = {}
    for labels, value in answer.samples:
        key = (str(labels.get("namespace", "")), str(labels.get("pod", "")), str(labels.get("model", "")))
        name = str(labels.get("__name__", ""))
        devices.setdefault(key, "")
        if name == metrics.GPU_INFO.name:
            devices[key] = str(labels.get("device", ""))
        elif math.isfinite(value):
            numbers[key, name] = max(value, numbers.get((key, name), value))
    return {
        key: Shown(
            device, numbers.get((key, metrics.HOST_MEMORY.name)), numbers.get((key, metrics.RESTORE_ESTIMATE.name))
        )
        for key, device in devices.items()
    }
