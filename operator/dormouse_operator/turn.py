"""Time on the loop: everything runs on it, so who has much to do gives it up again and again.

Seconds of CPU and not of the clock: what other processes of the machine take is nobody's fault here.
"""

import asyncio
import time
from collections.abc import Callable

# What others may have to wait for at most, give or take one step; a Lease is renewed within seconds.
SLICE_SECONDS = 0.005


class OverBudget(Exception):
    """What was to be done takes more time than it may; the work is not finished."""


class Turn:
    """The time that one piece of work takes on the loop. `cpu` is the CPU time of the loop's thread.

    Call `pause` between steps that are short by themselves.
    """

    def __init__(self, budget_seconds: float, cpu: Callable[[], float] = time.thread_time) -> None:
        self._budget_seconds = budget_seconds
        self._cpu = cpu
        self._before = 0.0
        self._began = cpu()

    @property
    def used_seconds(self) -> float:
        return self._before + self._cpu() - self._began

    async def pause(self) -> None:
        """Lets others in when they have waited for a while. Raises OverBudget when the time is up."""
        now = self._cpu()
        if now - self._began < SLICE_SECONDS:
            return
        self._before += now - self._began
        if self._before > self._budget_seconds:
            self._began = now
            raise OverBudget
        await asyncio.sleep(0)
        self._began = self._cpu()
