"""Tenants that do harm, each in a way of its own. They share a namespace, as a tenant's models do.

What they cost is seen at the others: the same figures of the honest models with them and without them.
"""

import asyncio
import math
import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from dormouse_contract import metrics

NAMESPACE = "unruly"
CROWD = 50
WINDOWS = 32


class Bad(StrEnum):
    """In which way a tenant does harm."""

    SILENT = "its control port takes connections and says nothing"
    CROWDED = f"the same, with {CROWD} models in one pod"
    HANGS_UP = "its control port ends each connection at once"
    HALF = "its control port sends half of an answer"
    GARBAGE = "its control port sends what is no HTTP"
    FLOODS = "its control port sends more than an answer can have"
    UNREACHABLE = "its address leads nowhere"
    ODD_FIGURES = "its series have figures that no model has"
    DEAR_SCHEDULE = "its schedule has windows that are dear to evaluate"
    WITHOUT_PODS = "its selector finds no pod"

    @property
    def answers_before_tls(self) -> bool:
        return self in (Bad.SILENT, Bad.CROWDED, Bad.HANGS_UP)

    @property
    def answers_wrongly(self) -> bool:
        return self in (Bad.HALF, Bad.GARBAGE, Bad.FLOODS)

    @property
    def models(self) -> int:
        return CROWD if self is Bad.CROWDED else 2 if self is Bad.ODD_FIGURES else 1


def kinds(count: int) -> list[Bad]:
    """So many of them, each kind as often as the others."""
    return [list(Bad)[number % len(Bad)] for number in range(count)]


def address(bad: Bad, number: int) -> str:
    """Of 127/8 beyond the honest ones; 192.0.2.0/24 is for documentation and routed nowhere."""
    last = f"{number >> 8 & 255}.{number & 255}"
    return f"192.0.{2}.{number & 255}" if bad is Bad.UNREACHABLE else f"127.200.{last}"


def policy(bad: Bad) -> dict[str, Any]:
    """What is added to the policy of an honest one."""
    if bad is not Bad.DEAR_SCHEDULE:
        return {}
    window = {"cron": "0 0 * 2 1#5", "timeZone": "Europe/Berlin", "durationSeconds": 3600, "residency": "GPU"}
    return {"schedule": [{"name": f"w{number}", **window} for number in range(WINDOWS)]}


def figures(bad: Bad, honest: Mapping[metrics.Metric, float]) -> Mapping[metrics.Metric, float]:
    if bad is not Bad.ODD_FIGURES:
        return honest
    odd = (1e308, math.inf, -math.inf, math.nan, 1e18, -1.0)
    return {metric: random.choice(odd) for metric in honest}  # noqa: S311 - a choice


async def before_tls(bad: Bad, writer: asyncio.StreamWriter) -> None:
    """Until the caller gives up."""
    if bad is Bad.HANGS_UP:
        writer.transport.abort()
        return
    await asyncio.sleep(3600)


async def answer(bad: Bad, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
    if bad is Bad.GARBAGE:
        writer.write(b"\x00\xff\x1b[2J no HTTP\r\n\r\n" * 100)
    elif bad is Bad.FLOODS:
        writer.write(head)
        for _ in range(64):
            writer.write(b'{"models": [' * 8192)
            # The connection's loss is heard of in between; `drain` alone need not wait.
            await asyncio.sleep(0)
            await writer.drain()
    else:
        writer.write(head + b'{"models": [{"name": ')
        await writer.drain()
        await asyncio.sleep(3600)
    await writer.drain()
