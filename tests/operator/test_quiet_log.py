"""What others do must not fill the log."""

from __future__ import annotations

import logging

import pytest
from dormouse_operator.quiet_log import CAUSES, QuietLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_cause_is_said_once_a_minute_and_then_with_what_was_left_out(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log = QuietLog(logging.getLogger("quiet"), monotonic=clock)
    for clock.now in range(0, 121, 10):
        log.warning("bad", "%s does not answer", "bad")
        if clock.now == 30:
            log.warning("other", "other")
    assert caplog.messages == [
        "bad does not answer",
        "other",
        "bad does not answer (and 5 more like it before)",
        "bad does not answer (and 5 more like it before)",
    ]


def test_so_many_lines_a_minute_as_it_is_allowed(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = QuietLog(logging.getLogger("quiet"), lines=3, monotonic=clock)
    for clock.now in range(60):
        log.info("orders", "ordered at %d", clock.now)
    assert caplog.messages == ["ordered at 0", "ordered at 1", "ordered at 2"]


def test_an_exception_is_said_with_its_traceback(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = QuietLog(logging.getLogger("quiet"), monotonic=clock)
    try:
        raise KeyError("odd")
    except KeyError:
        log.exception("odd", "It failed.")
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].funcName == "test_an_exception_is_said_with_its_traceback"


def test_ever_new_causes_take_no_room_without_end(clock: Clock) -> None:
    log = QuietLog(logging.getLogger("quiet"), monotonic=clock)
    for number in range(3 * CAUSES):
        log.info(number, "new")
    assert len(log._said) == CAUSES
