"""One record of a log is one line, whatever words of others are in it; a traceback's lines are indented below.

Foreign text is cleaned where it comes in. This is for what nobody thought of, an exception's own text above all.
"""

import logging
from typing import Any

from .printable import printable

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MAX_MESSAGE_CHARACTERS = 4000


class LineFormatter(logging.Formatter):
    """Of each program that we start: `logging.basicConfig` writes with it by `log_by_lines`."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message, _MAX_MESSAGE_CHARACTERS)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _below(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        return _below(super().formatStack(stack_info))


def log_by_lines(level: int | str = logging.INFO) -> None:
    """To stderr, for the whole process. Does nothing where logging is set up already, as `logging.basicConfig`."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler])


def _below(text: str) -> str:
    return "\n".join(f"    {printable(line, _MAX_MESSAGE_CHARACTERS)}" for line in text.splitlines())
