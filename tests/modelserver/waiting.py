"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Callable


def until(condition: Callable[[], bool], within_seconds: float = 10.0) -> None:
    """Returns when the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {inspect.getsource(condition)}"
        time.sleep(0.005)


async def auntil(condition: Callable[[], bool], within_seconds: float = 10.0) -> None:
    """The same without blocking the event loop."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {inspect.getsource(condition)}"
        await asyncio.sleep(0.005)
