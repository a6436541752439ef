"""Moving on a terminal, plain in a log."""

from __future__ import annotations

import io

import pytest

from localcluster import progress
from localcluster.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_in_a_log_a_line_comes_now_and_then(clock: list[float]) -> None:
    log = io.StringIO()
    work = Progress(log)
    work.start("building")
    for _ in range(60):
        clock[0] += 1
        work.tick("compiling")
    work.finish("built")
    assert log.getvalue().splitlines() == [
        "building",
        *(f"  {seconds:4d} s  compiling" for seconds in (15, 30, 45, 60)),
        "built (60 s)",
    ]


def test_on_a_terminal_one_line_is_rewritten(clock: list[float]) -> None:
    terminal = Terminal()
    work = Progress(terminal)
    work.start("building")
    clock[0] += 1
    work.tick("compiling")
    work.finish("built")
    assert terminal.getvalue() == "building\n\r\x1b[2K     1 s  compiling\r\x1b[2Kbuilt (1 s)\n"
