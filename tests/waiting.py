"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any


def until(condition: Callable[[], bool], within_seconds: float = 10.0) -> None:
    """Returns when the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {inspect.getsource(condition)}"
        time.sleep(0.005)


async def auntil(condition: Callable[[], bool | Awaitable[bool]], within_seconds: float = 10.0) -> None:
    """The same without blocking the event loop; the condition may be awaited."""
    deadline = time.monotonic() + within_seconds
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {inspect.getsource(condition)}"
        await asyncio.sleep(0.005)


def eventually(what: str, check: Callable[[], Any], deadline_seconds: float = 60.0) -> Any:
    """The first truthy answer of `check`, which talks to other processes. Fails with `what` and the last answer."""
    deadline = time.monotonic() + deadline_seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what}: not within {deadline_seconds:g} s; last: {found!r}"
        time.sleep(0.1)
    return found
