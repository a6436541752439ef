"""Several questions at once, of which none outlives the answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


@overload
async def together(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B], /) -> tuple[A, B]: ...
@overload
async def together(*asked: Coroutine[Any, Any, T]) -> tuple[T, ...]: ...
async def together(*asked: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """The results in order. Raises the first error, when all others have ended.

    `asyncio.gather` alone would leave them running: they would open connections of a client that is closed meanwhile.
    """
    tasks = [asyncio.create_task(each) for each in asked]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
