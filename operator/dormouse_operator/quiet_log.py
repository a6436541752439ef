"""A log that says the same a few times a minute, however often it happens: what others do must not fill it."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

MINUTE_SECONDS = 60.0
# So many causes are remembered; of more, some are said again early.
CAUSES = 1000


@dataclass(slots=True)
class _Said:
    """What was said of one cause since `since` (monotonic seconds), and what was left out since it was said last."""

    since: float
    lines: int = 0
    left_out: int = 0


class QuietLog:
    """`cause` is what a line is about, such as a namespace with a reason; of each there are `lines` a minute.

    The first line of a cause after others were left out says how many.
    """

    def __init__(self, logger: logging.Logger, lines: int = 1, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._lines = lines
        self._monotonic = monotonic
        self._said: OrderedDict[Hashable, _Said] = OrderedDict()

    def warning(self, cause: Hashable, message: str, *arguments: object) -> None:
        self._say(logging.WARNING, cause, message, arguments)

    def info(self, cause: Hashable, message: str, *arguments: object) -> None:
        self._say(logging.INFO, cause, message, arguments)

    def exception(self, cause: Hashable, message: str, *arguments: object) -> None:
        """With the traceback of the exception that is being handled."""
        self._say(logging.ERROR, cause, message, arguments, traceback=True)

    def _say(
        self, level: int, cause: Hashable, message: str, arguments: tuple[object, ...], traceback: bool = False
    ) -> None:
        now = self._monotonic()
        said = self._said.setdefault(cause, _Said(now))
        self._said.move_to_end(cause)
        if len(self._said) > CAUSES:
            self._said.popitem(last=False)
        if now - said.since >= MINUTE_SECONDS:
            said.since, said.lines = now, 0
        if said.lines >= self._lines:
            said.left_out += 1
            return
        said.lines += 1
        if said.left_out:
            message, arguments = f"{message} (and %d more like it before)", (*arguments, said.left_out)
            said.left_out = 0
        self._logger.log(level, message, *arguments, exc_info=traceback, stacklevel=3)
