"""An answer that anybody may ask for and that takes time from the models: made once for all who ask.

Whichever route or event loop they come through, they get the latest one, or the one that is being made now.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from dormouse_contract.problems import ProblemReason

from ..lifecycle import background
from ..lifecycle.forking import begins_anew
from .allowance import Allowance
from .problems import Refusal

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """`make` runs in a daemon thread, once at a time: it may block, and one that hangs costs one thread."""

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self._name, self._make = name, make
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Also in a forked child, where nobody makes what its parent's threads were making."""
        self._allowance, self._lock = Allowance(), threading.Lock()
        self._latest: Future[T] | None = None

    async def get(self) -> T:
        """Raises what `make` raised, or `Refusal` when there is no thread to make it in."""
        return await asyncio.wrap_future(self._asked())

    def _asked(self) -> "Future[T]":
        with self._lock:
            latest = self._latest
            if latest is not None and not (latest.done() and self._allowance.take()):
                return latest
            asked: Future[T] = Future()
            # Running: who gives up waiting can't cancel what others wait for as well.
            asked.set_running_or_notify_cancel()
            name = f"dormouse-{self._name}"
            try:
                threading.Thread(target=self._make_it, args=(asked,), name=name, daemon=True).start()
            except Exception as error:  # at a limit of threads
                background.count_failure(self._name, error)
                detail = f"The figures can't be read now ({error}). The models are as they were; ask again"
                raise Refusal(
                    503, ProblemReason.CANNOT_NOW, "No thread to read with", detail, retry_after=1.0
                ) from error
            self._latest = asked
            return asked

    def _make_it(self, asked: "Future[T]") -> None:
        try:
            made = self._make()
        except BaseException as error:  # each of those who wait has to hear of it
            asked.set_exception(error)
        else:
            asked.set_result(made)
