"""From the observed arrivals of a model to a timeout that suits it, and to what other timeouts would have done.

The suggestion is a rule of thumb by rate. Beside it stands what each timeout *would have* saved and cost over
the arrivals that were really seen, by replaying them: so the rule can be checked against the day it had.
Byte-seconds and waited seconds come from measured bytes and measured restores; what was not measured is None.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dormouse_contract.wire import ModelAdvice, ReplayedTimeout, SuggestedTimeout

from .arrivals import Burst

# More than so many uses a minute: keep it on the GPU.
BUSY_PER_MINUTE = 10.0
# From here on ten minutes; below, half an hour.
REGULAR_PER_MINUTE = 1.0
BUSY_TIMEOUT_SECONDS = math.inf
REGULAR_TIMEOUT_SECONDS = 600.0
RARE_TIMEOUT_SECONDS = 1800.0
# What is replayed beside the timeout in force. Infinity is never.
CANDIDATES_SECONDS = (0.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, math.inf)
# A rate over less than this would be a guess: a first request would count as hundreds a minute.
_AT_LEAST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one model's use. Times in Unix seconds; None is not measured yet.

    since: from when on `bursts` are complete. in_use: the last burst has not ended.
    idle_timeout_seconds: the one in force, infinity for never; None when an operator's policy decides.
    unload_timeout_seconds: when a sleep goes on to disk, which makes the wake a load as well; infinity for never.
    """

    now: float
    since: float
    bursts: tuple[Burst, ...]
    in_use: bool
    gpu_memory_bytes: int | None
    restore_seconds: float | None
    load_seconds: float | None
    idle_timeout_seconds: float | None
    unload_timeout_seconds: float = math.inf


def advise(observed: Observed) -> ModelAdvice:
    """Pure and total. The same arrivals give the same advice."""
    arrivals = sum(burst.arrivals for burst in observed.bursts)
    span = max(0.0, observed.now - observed.since)
    per_minute = arrivals / max(span, _AT_LEAST_SECONDS) * 60
    suggested = suggest(per_minute) if arrivals else None
    timeouts = {*CANDIDATES_SECONDS, *(t for t in (observed.idle_timeout_seconds, suggested) if t is not None)}
    return ModelAdvice(
        observed_seconds=span,
        arrivals=arrivals,
        arrivals_per_minute=per_minute,
        gpu_memory_bytes=observed.gpu_memory_bytes,
        restore_seconds=observed.restore_seconds,
        suggested=None
        if suggested is None
        else SuggestedTimeout(
            setting=_setting(suggested), idle_timeout_seconds=_finite(suggested), because=_because(per_minute)
        ),
        replayed=[
            _replay(observed, timeout, timeout == observed.idle_timeout_seconds, timeout == suggested)
            for timeout in sorted(timeouts)
        ],
    )


def suggest(arrivals_per_minute: float) -> float:
    """The idle timeout in seconds for a rate of use; infinity for never."""
    if arrivals_per_minute > BUSY_PER_MINUTE:
        return BUSY_TIMEOUT_SECONDS
    return REGULAR_TIMEOUT_SECONDS if arrivals_per_minute >= REGULAR_PER_MINUTE else RARE_TIMEOUT_SECONDS


def _replay(observed: Observed, timeout: float, current: bool, suggested: bool) -> ReplayedTimeout:
    asleep_seconds, waits, loads = 0.0, 0, 0
    for pause, ended_by_arrival in _pauses(observed):
        if pause <= timeout:
            continue
        asleep_seconds += pause - timeout
        waits += ended_by_arrival
        loads += ended_by_arrival and pause > max(timeout, observed.unload_timeout_seconds)
    nbytes = observed.gpu_memory_bytes
    return ReplayedTimeout(
        setting=_setting(timeout),
        idle_timeout_seconds=_finite(timeout),
        current=current,
        suggested=suggested,
        asleep_seconds=asleep_seconds,
        gpu_memory_saved_byte_seconds=None if nbytes is None else nbytes * asleep_seconds,
        waits=waits,
        waited_seconds=_waited(observed, waits, loads),
    )


def _pauses(observed: Observed) -> Iterator[tuple[float, bool]]:
    """Seconds of each pause after a use, and whether an arrival ended it: the last one is still open."""
    for earlier, later in zip(observed.bursts, observed.bursts[1:], strict=False):
        yield max(0.0, later.began - earlier.ended), True
    if observed.bursts and not observed.in_use:
        yield max(0.0, observed.now - observed.bursts[-1].ended), False


def _waited(observed: Observed, waits: int, loads: int) -> float | None:
    if not waits:
        return 0.0
    if observed.restore_seconds is None or (loads and observed.load_seconds is None):
        return None
    return waits * observed.restore_seconds + loads * (observed.load_seconds or 0.0)


def _because(per_minute: float) -> str:
    rate = f"{per_minute:.3g} uses a minute"
    if per_minute > BUSY_PER_MINUTE:
        return f"{rate}, more than {BUSY_PER_MINUTE:g}"
    if per_minute >= REGULAR_PER_MINUTE:
        return f"{rate}, from {REGULAR_PER_MINUTE:g} to {BUSY_PER_MINUTE:g}"
    return f"{rate}, fewer than {REGULAR_PER_MINUTE:g}"


def _setting(timeout: float) -> str:
    """As it is written for `--idle-timeout`."""
    return "never" if math.isinf(timeout) else f"{timeout:.15g}"


def _finite(timeout: float) -> float | None:
    return None if math.isinf(timeout) else timeout
