"""A child's start, readiness, end and errors."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from localcluster import Process
from localcluster.errors import ChildDied, NotReadyInTime


def test_a_child_that_dies_early_says_why(tmp_path: Path) -> None:
    script = "echo listening failed: address in use >&2; exit 7"
    child = Process("server", ["sh", "-c", script], directory=tmp_path)
    with child, pytest.raises(ChildDied) as death:
        child.wait_until(lambda: False)
    message = str(death.value)
    assert "server ended with status 7 before it was ready" in message
    assert "listening failed: address in use" in message
    assert f"sh -c '{script}'" in message
    assert str(child.log) in message


def test_only_the_last_lines_of_the_log_are_shown(tmp_path: Path) -> None:
    child = Process("server", ["sh", "-c", "seq 1000; exit 1"], directory=tmp_path)
    with child, pytest.raises(ChildDied) as death:
        child.wait_until(lambda: False)
    assert "\n1000\n" in str(death.value)
    assert "\n900\n" not in str(death.value)


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = Process("server", ["/nowhere/server"], directory=tmp_path)
    with child, pytest.raises(ChildDied, match="cannot start /nowhere/server: No such file"):
        child.wait_until(lambda: False)


def test_a_child_that_does_not_get_ready_is_named_with_its_log(tmp_path: Path) -> None:
    child = Process("server", ["sh", "-c", "echo still thinking; exec sleep 600"], directory=tmp_path)
    with child, pytest.raises(NotReadyInTime, match=r"was not ready within 0\.5 s[\s\S]*still thinking"):
        child.wait_until(lambda: False, deadline_seconds=0.5)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_the_status_is_that_of_the_command_signals_included(tmp_path: Path, number: signal.Signals) -> None:
    with Process("sleeper", ["sleep", "600"], directory=tmp_path) as sleeper:
        sleeper.send_signal(number)
        assert sleeper.wait(deadline_seconds=10) == -number


def test_it_can_be_started_again_and_its_log_goes_on(tmp_path: Path) -> None:
    child = Process("counter", ["sh", "-c", "echo once more"], directory=tmp_path)
    for _ in range(2):
        assert child.start().wait(deadline_seconds=10) == 0
    child.stop()
    assert child.log.read_text() == "once more\nonce more\n"


def test_stopping_twice_and_before_the_start_is_harmless(tmp_path: Path) -> None:
    child = Process("sleeper", ["sleep", "600"], directory=tmp_path)
    assert child.stop() is None
    child.start()
    assert child.stop() == child.stop() == -signal.SIGTERM


def test_it_has_its_directory_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKEN_AWAY", "x")
    child = Process(
        "shower",
        ["sh", "-c", 'echo "$(pwd) $ADDED ${TAKEN_AWAY-gone}"'],
        directory=tmp_path,
        environment={"ADDED": "here", "TAKEN_AWAY": None},
    )
    child.start().wait(deadline_seconds=10)
    child.stop()
    assert child.log_tail() == f"{tmp_path} here gone"


def test_signals_arrive_as_the_terminal_would_send_them(tmp_path: Path) -> None:
    """The warden ignores SIGINT; what it starts must not."""
    script = "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE))"
    child = Process("python", [sys.executable, "-c", script], directory=tmp_path)
    child.start().wait(deadline_seconds=10)
    child.stop()
    assert "default_int_handler" in child.log_tail()
