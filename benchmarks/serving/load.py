"""Many clients with random pauses on models that sleep all the time: is every request answered, and rightly?"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

import httpx

from .apps import IDLE_TIMEOUTS_SECONDS, answer, load

_VALUES = 200


def right_answers(torch_device: str) -> list[float]:
    """By value, of a twin that Dormouse never touches: on the same device, or other bits are right."""
    model = load().to(torch_device)
    return [answer(model, value) for value in range(_VALUES)]


async def storm(url: str, clients: int, seconds: float, right: Sequence[float]) -> dict[str, float]:
    """right: by value. Gives `ok`, `failed` and `wrong` answers, wakes and sleeps, and the waits' p50 and p99 (s)."""
    tally: Counter[str] = Counter()
    took: list[float] = []
    ends = time.monotonic() + seconds

    async def client(number: int, http: httpx.AsyncClient) -> None:
        chance = random.Random(number)  # noqa: S311 - traffic, no secret
        while time.monotonic() < ends:
            await asyncio.sleep(chance.random() * 3)
            value, name = chance.randrange(_VALUES), chance.choice(list(IDLE_TIMEOUTS_SECONDS))
            started = time.monotonic()
            try:
                response = await http.get(f"{url}/{name}/{value}")
            except httpx.HTTPError as error:
                tally[f"failed: {type(error).__name__}"] += 1
                continue
            took.append(time.monotonic() - started)
            if response.status_code != 200:
                tally[f"failed: {response.status_code}"] += 1
            else:
                tally["ok" if response.json() == right[value] else "wrong"] += 1

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=60, limits=limits) as http:
        await asyncio.gather(*(client(number, http) for number in range(clients)))
        wakes, sleeps = _transitions((await http.get(f"{url}/dormouse/metrics")).text)
    took.sort()
    failed = sum(count for what, count in tally.items() if what.startswith("failed"))
    return {
        "clients": clients,
        "seconds": seconds,
        "ok": tally["ok"],
        "failed": failed,
        "wrong": tally["wrong"],
        "wakes": wakes,
        "sleeps": sleeps,
        "p50_seconds": took[len(took) // 2],
        "p99_seconds": took[int(len(took) * 0.99)],
    }


def _transitions(text: str) -> tuple[int, int]:
    lines = [line for line in text.splitlines() if line.startswith("dormouse_transitions_total{")]
    ok = [line for line in lines if 'outcome="ok"' in line]
    wakes = sum(float(line.rsplit(" ", 1)[1]) for line in ok if 'to="GPU"' in line)
    sleeps = sum(float(line.rsplit(" ", 1)[1]) for line in ok if 'from="GPU"' in line)
    return int(wakes), int(sleeps)
