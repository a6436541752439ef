"""A log that says the same once a minute, however often it happens: what others do must not fill it."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

SAME_AGAIN_SECONDS = 60.0
# So many causes are remembered; of more, some are said again early.
CAUSES = 1000


class QuietLog:
    """`cause` is what a line is about, such as a namespace with a reason. A line of a cause that was silenced
    meanwhile says how many lines were left out."""

    def __init__(self, logger: logging.Logger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._monotonic = monotonic
        self._said: OrderedDict[Hashable, list[float]] = OrderedDict()

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
        said_at, left_out = self._said.get(cause, (float("-inf"), 0.0))
        if now - said_at < SAME_AGAIN_SECONDS:
            self._said[cause] = [said_at, left_out + 1]
            return
        self._said[cause] = [now, 0.0]
        self._said.move_to_end(cause)
        if len(self._said) > CAUSES:
            self._said.popitem(last=False)
        if left_out:
            message, arguments = f"{message} (and %d more like it since)", (*arguments, int(left_out))
        self._logger.log(level, message, *arguments, exc_info=traceback, stacklevel=3)
