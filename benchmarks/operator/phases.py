"""What an operator is watched through: until its fleet is in sync, settled, at rest, and while a part becomes idle."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from .bad import NAMESPACE as UNRULY
from .objects import OFFLOAD_AFTER_SECONDS
from .operator_process import AuditLog, OperatorProcess
from .replicas import Replica

SHARE_IDLE_PER_TICK = 0.05
IDLE_ROUNDS = 2
STEADY_TICKS = 8
QUIET_TICKS = 3
SYNC_SECONDS = 300.0
SETTLE_SECONDS, SETTLE_SECONDS_PER_MODEL = 300.0, 0.1
STATUS = "managedmodels/status"
Say = Callable[[str], None]


async def until(what: str, check: Callable[[], bool], deadline_seconds: float, every_seconds: float = 0.1) -> None:
    deadline = time.monotonic() + deadline_seconds
    while not await asyncio.to_thread(check):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {deadline_seconds:g} s")
        await asyncio.sleep(every_seconds)


async def in_sync(operator: OperatorProcess, managed_models: int, pods: int) -> float:
    """Seconds from its start. Raises RuntimeError when it takes another fleet for the whole."""
    await until("the operator has seen everything", lambda: operator.watching() is not None, SYNC_SECONDS)
    seconds = time.monotonic() - operator.started_at
    if operator.watching() != (managed_models, pods):
        found = operator.watching()
        raise RuntimeError(
            f"the operator took {found} for all ManagedModels and pods; there are {managed_models, pods}"
        )
    return seconds


@dataclass(frozen=True, slots=True)
class Settled:
    """Seconds from the operator's start: of each first status, in order, and of the last write."""

    first_statuses: list[float]
    last_write: float


async def settle(
    audit: AuditLog, operator: OperatorProcess, honest: Sequence[Replica], seconds: float, say: Say
) -> Settled:
    """Once each honest model has a status and nothing was written about any for some ticks."""
    missing = {replica.key for replica in honest}
    longest = SETTLE_SECONDS + SETTLE_SECONDS_PER_MODEL * len(honest)
    first: list[float] = []
    last_write, said, began, writes = time.time(), time.monotonic(), time.monotonic(), 0
    while missing or time.time() - last_write < QUIET_TICKS * seconds:
        await asyncio.sleep(min(1.0, seconds))
        for request in audit.new():
            if not request.is_write or request.namespace == UNRULY:
                continue
            last_write, writes = max(last_write, request.at), writes + 1
            key = (request.namespace, request.name)
            if request.resource == STATUS and request.ok and key in missing:
                missing.discard(key)
                first.append(request.at - operator.started_unix)
        if time.monotonic() - said > 20:
            said = time.monotonic()
            say(
                f"{len(first)} of {len(honest)} have a status; {writes} writes; "
                f"{operator.memory_mb():.0f} MB, {operator.cpu_seconds():.0f} s of CPU"
            )
        if not operator.running:
            raise RuntimeError(f"the operator ended:\n{operator.log()[-4000:]}")
        if time.monotonic() - began > longest:
            raise TimeoutError(f"not settled after {longest:g} s: {len(missing)} of {len(honest)} have no status")
    return Settled(first, last_write - operator.started_unix)


async def steady(audit: AuditLog, operator: OperatorProcess, managed_models: int, seconds: float) -> dict[str, Any]:
    """Raises RuntimeError when the operator itself counts other ManagedModels than there are."""
    before = await asyncio.to_thread(operator.metrics)
    if before.managed_models != managed_models:
        raise RuntimeError(f"the operator counts {before.managed_models:g} ManagedModels of {managed_models}")
    audit.new()
    began, cpu = time.monotonic(), operator.cpu_seconds()
    await asyncio.sleep(STEADY_TICKS * seconds)
    cpu, lasted = operator.cpu_seconds() - cpu, time.monotonic() - began
    requests = audit.new()
    after = await asyncio.to_thread(operator.metrics)
    return {
        "rss_mb": round(operator.memory_mb(), 1),
        "steady_seconds": round(lasted, 1),
        "steady_cpu_percent": round(100 * cpu / lasted, 2),
        "tick_seconds": round((after.pass_seconds - before.pass_seconds) / max(1.0, after.passes - before.passes), 4),
        "api_requests_per_minute_idle": round(60 * len(requests) / lasted, 2),
        "api_writes_idle": sum(request.is_write and request.namespace != UNRULY for request in requests),
    }


@dataclass(frozen=True, slots=True)
class BecameIdle:
    """delays: seconds from the moment at which each was idle for long enough to its order, in order."""

    cpu_percent: float
    delays: list[float]

    def quantile(self, share: float) -> float:
        return round(self.delays[int(share * (len(self.delays) - 1))], 2)


def choose_idle(honest: Sequence[Replica]) -> tuple[list[Replica], list[Replica]]:
    """Two shares of the fleet with no model in common, so that the same can be measured twice."""
    count = max(1, round(IDLE_ROUNDS * SHARE_IDLE_PER_TICK * len(honest)))
    chosen = random.Random(7).sample(honest, 2 * count)  # noqa: S311 - a choice
    return chosen[:count], chosen[count:]


async def become_idle(waiting: list[Replica], operator: OperatorProcess, seconds: float, say: Say) -> BecameIdle:
    """A share of the fleet per tick passes its limit, each at a moment of its own; from then to its order."""
    # By then even the last of them has been scraped with its new time, as any model that was used has.
    begin = time.time() + 2 * seconds + 5
    reached: dict[str, float] = {}
    for position, replica in enumerate(waiting):
        reached[replica.uid] = begin + IDLE_ROUNDS * seconds * position / len(waiting)
        replica.idle_since = reached[replica.uid] - OFFLOAD_AFTER_SECONDS
    await asyncio.sleep(max(0.0, begin - time.time()))
    began, cpu = time.monotonic(), operator.cpu_seconds()
    say(f"{len(waiting)} models become idle")
    await until("each of them was ordered", lambda: all(each.ordered_at for each in waiting), 120 + 10 * seconds)
    used = 100 * (operator.cpu_seconds() - cpu) / (time.monotonic() - began)
    return BecameIdle(round(used, 2), sorted(each.ordered_at[0] - reached[each.uid] for each in waiting))


class Health:
    """`unhealthy`: how often /healthz said something else than 200 within two seconds, asked every five seconds."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._url = f"http://127.0.0.1:{operator.metrics_port}/healthz"
        self.unhealthy = 0

    async def watch(self) -> None:
        """Until cancelled."""
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            while True:
                try:
                    self.unhealthy += (await http.get(self._url)).status_code != 200
                except httpx.HTTPError:
                    self.unhealthy += 1
                await asyncio.sleep(5.0)
