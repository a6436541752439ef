"""Where a use was begun: which thread, which line of the user's code, and whether that code runs now.

A frame is known by its address alone: a reference to it would keep what the user's function holds.
"""

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

# Not the user's code: ours, and the standard library's ways to enter a context.
_OURS = str(Path(__file__).parents[2])
_PASSED_OVER = ("contextlib.py",)


@dataclass(frozen=True, slots=True)
class Entry:
    """thread: its name. where: `file:line`, or the decorated function's."""

    thread: str
    where: str
    _code: CodeType
    _frame_address: int

    def __str__(self) -> str:
        return f"thread {self.thread}, {self.where}"

    @property
    def runs_now(self) -> bool:
        """Whether the frame with the `with` statement is on a thread's stack, rather than suspended or gone."""
        for frame in sys._current_frames().values():
            above: FrameType | None = frame
            while above is not None:
                if id(above) == self._frame_address and above.f_code is self._code:
                    return True
                above = above.f_back
        return False


def entry_of(frame: FrameType, thread: threading.Thread, function: str | None) -> Entry:
    return Entry(thread.name, function or _where(frame), frame.f_code, id(frame))


def _where(frame: FrameType) -> str:
    at: FrameType | None = frame
    while at is not None and _is_passed_over(at.f_code.co_filename):
        at = at.f_back
    shown = at or frame
    return f"{shown.f_code.co_filename}:{shown.f_lineno}"


def _is_passed_over(file: str) -> bool:
    return file.startswith(_OURS) or file.endswith(_PASSED_OVER)
