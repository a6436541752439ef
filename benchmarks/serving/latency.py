"""The p99 of an awake model with Dormouse against the same app without, in interleaved pairs: noise hits both alike."""

import asyncio
import statistics
import time
from typing import Any

import httpx

REQUESTS, _AT_ONCE = 1000, 4


async def compare(url: str, plain_url: str, pairs: int, requests: int = REQUESTS) -> dict[str, Any]:
    """p99 in seconds per round of both, the ratio of each pair, and their median."""
    rounds = []
    async with httpx.AsyncClient(timeout=60) as http:
        for warm in (url, plain_url):
            await _p99(http, warm, requests)
        for number in range(pairs):
            # In turns who is first, so that a drift of the machine cancels out.
            order = (url, plain_url) if number % 2 else (plain_url, url)
            p99 = {one: await _p99(http, one, requests) for one in order}
            rounds.append({"with_seconds": p99[url], "without_seconds": p99[plain_url]})
    ratios = [one["with_seconds"] / one["without_seconds"] for one in rounds]
    return {
        "requests_per_round": requests,
        "p99_ratio_median": statistics.median(ratios),
        "p99_ratio_min": min(ratios),
        "p99_ratio_max": max(ratios),
        "rounds": rounds,
    }


async def _p99(http: httpx.AsyncClient, url: str, requests: int) -> float:
    took: list[float] = []

    async def client(share: int) -> None:
        for value in range(share):
            started = time.monotonic()
            (await http.get(f"{url}/awake/{value % 100}")).raise_for_status()
            took.append(time.monotonic() - started)

    await asyncio.gather(*(client(requests // _AT_ONCE) for _ in range(_AT_ONCE)))
    return sorted(took)[int(len(took) * 0.99)]
