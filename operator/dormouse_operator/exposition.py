"""The text of `/metrics`, made beside the loop: at 10,000 ManagedModels it takes a quarter of a second.

Anybody may ask as often as they like, so all who ask within a second get the same.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

SHARED_SECONDS = 1.0


class Exposition:
    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._text = b""
        self._made_at = float("-inf")

    async def text(self) -> bytes:
        async with self._lock:
            if self._monotonic() - self._made_at >= SHARED_SECONDS:
                # Collected on the loop, which alone may look at what the figures are made of.
                self._text = await asyncio.to_thread(generate_latest, _Collected(self._registry.collect()))
                self._made_at = self._monotonic()
            return self._text


class _Collected:
    """Stands in for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
