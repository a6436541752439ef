"""Whatever words of others are in a record, it is one line, and what is below it can't be taken for another one."""

from __future__ import annotations

import io
import logging

import pytest
from dormouse_contract.log_lines import LineFormatter, log_by_lines
from hypothesis import given
from hypothesis import strategies as st

FORGED = "x\n2026-01-01 00:00:00,000 INFO dormouse: all is well\r\x1b[2K"
TEXT = st.text(max_size=60) | st.just(FORGED)


def written(*arguments: object, error: Exception | None = None) -> list[str]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    log = logging.Logger("dormouse.test")
    log.addHandler(handler)
    if error is None:
        log.warning(*arguments)
    else:
        log.error(*arguments, exc_info=error)
    return stream.getvalue().removesuffix("\n").split("\n")


@given(TEXT)
def test_a_record_is_one_line(words: str) -> None:
    (line,) = written("a pod says %s", words)
    assert "WARNING dormouse.test: a pod says" in line
    assert line.isprintable() or "\N{REPLACEMENT CHARACTER}" in line or words.strip() == ""


@given(TEXT)
def test_a_traceback_is_indented_and_forges_nothing(words: str) -> None:
    try:
        raise ValueError(words)
    except ValueError as error:
        first, *below = written("it broke: %s", words, error=error)
    assert "ERROR dormouse.test: it broke" in first
    assert "Traceback" in below[0]
    assert all(line.startswith("    ") and "\x1b" not in line for line in below)


def test_a_program_logs_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.RootLogger(logging.ERROR)
    monkeypatch.setattr(logging, "root", root)
    log_by_lines("WARNING")
    assert [type(each.formatter) for each in root.handlers] == [LineFormatter]
    assert root.level == logging.WARNING
