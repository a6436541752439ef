"""A check may fail, break off, hang or never begin: the others go on, and what it had found is kept."""

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks.gpu.checks import Check
from benchmarks.gpu.outcome import CheckOutcome, GpuRun, Status
from benchmarks.gpu.report import from_json, write
from benchmarks.gpu.running import Plan, chosen, run_all

from .heads import SIMULATED

FINDING = """print('{"finding": {"what": "w", "held": true, "detail": ""}}', flush=True)"""
GOOD, BAD = FINDING, FINDING.replace("true", "false")


def run(tmp_path: Path, *programs: str, seconds: float = 60.0) -> tuple[GpuRun, list[str]]:
    """Each program is a check; what was said is the second."""
    checks = tuple(Check(f"check-{number}", "", 1) for number in range(len(programs)))
    outcome = GpuRun(SIMULATED, [CheckOutcome(check.name, "") for check in checks], 1)
    said: list[str] = []

    def command(check: Check, *_: object) -> list[str]:
        return [sys.executable, "-c", textwrap.dedent(programs[checks.index(check)])]

    plan = Plan("sim", checks, time.monotonic() + seconds, command)
    run_all(plan, outcome, lambda: write(outcome, tmp_path), said.append)
    assert from_json((tmp_path / "gpu.json").read_text()) == outcome
    return outcome, said


def statuses(outcome: GpuRun) -> list[Status]:
    return [check.status for check in outcome.checks]


def test_a_check_that_fails_or_breaks_off_goes_on_to_the_next_one(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, f"{GOOD}; {BAD}", f"{GOOD}; raise SystemExit('no such kernel')", GOOD)
    assert statuses(outcome) == [Status.FAILED, Status.CRASHED, Status.HELD]
    assert [len(check.findings) for check in outcome.checks] == [2, 1, 1]
    assert "no such kernel" in outcome.checks[1].ended
    assert outcome.held == 1
    assert outcome.verdict == "NOT everything held: 1 of 3 checks, 3 of 4 findings, on simulated device"


def test_a_check_that_is_killed_says_by_which_signal(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, "import os; os.kill(os.getpid(), 11)")
    assert outcome.checks[0].ended.startswith("broke off (killed by signal 11)")


def test_a_check_that_hangs_is_ended_with_its_children_and_what_it_found_is_kept(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hangs = f"""
        import pathlib, subprocess, sys, time
        {GOOD}
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        pathlib.Path({str(pid)!r}).write_text(str(child.pid))
        time.sleep(1000)
    """
    outcome, _ = run(tmp_path, hangs, GOOD, seconds=20)
    assert statuses(outcome) == [Status.OUT_OF_TIME, Status.HELD]
    assert len(outcome.checks[0].findings) == 1
    assert _is_gone(int(pid.read_text()))


def test_a_check_that_closes_its_end_and_goes_on_is_ended_too(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, f"import os, time; {GOOD}; os.close(1); time.sleep(1000)", seconds=8)
    assert statuses(outcome) == [Status.OUT_OF_TIME]


def test_what_there_is_no_time_for_is_not_run_and_says_so(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, GOOD, GOOD, seconds=2)
    assert statuses(outcome) == [Status.NOT_RUN, Status.NOT_RUN]
    assert "--minutes" in outcome.checks[0].ended
    assert outcome.verdict.startswith("NOT everything held: 0 of 2 checks")


@pytest.mark.parametrize("program", ["pass", FINDING.replace("true", "null")], ids=["no finding", "nothing tried"])
def test_a_check_that_proved_nothing_did_not_hold(tmp_path: Path, program: str) -> None:
    outcome, _ = run(tmp_path, program)
    assert statuses(outcome) == [Status.FAILED]
    assert outcome.checks[0].ended == "nothing could be tried here"


def test_figures_that_are_said_again_replace_those_before(tmp_path: Path) -> None:
    say = 'print(\'{"figures": {"a": 1}}\'); print(\'{"figures": {"a": 2, "b": null}}\', flush=True)'
    outcome, _ = run(tmp_path, f"{GOOD}; {say}")
    assert outcome.checks[0].figures == {"a": 2, "b": None}


def test_each_finding_is_written_before_the_check_ends(tmp_path: Path) -> None:
    """The check reads the run's own file, and says what it found there."""
    reads = f"""
        import pathlib, time
        {GOOD}
        file = pathlib.Path({str(tmp_path / "gpu.json")!r})
        deadline = time.monotonic() + 20
        while '"what": "w"' not in file.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert '"what": "w"' in file.read_text()
        assert '"status": "running"' in file.read_text()
    """
    outcome, _ = run(tmp_path, reads)
    assert statuses(outcome) == [Status.HELD], outcome.checks[0].ended


def test_the_time_is_shared_out_and_what_is_left_over_goes_to_those_after() -> None:
    checks = (Check("a", "", 3), Check("b", "", 1), Check("c", "", 1))
    plan = Plan("sim", checks, ends=101.0)
    seconds, limit = plan.seconds(0, now=0.0)
    assert seconds == pytest.approx(60)
    assert limit == pytest.approx(100 - 2 * 4), "each of the two that follow keeps its 4 s"
    assert plan.seconds(1, now=10.0) == (pytest.approx(45), pytest.approx(86))
    assert plan.seconds(2, now=95.0) == (pytest.approx(5), pytest.approx(5)), "never beyond the end"


def test_checks_run_in_the_order_of_their_worth_whatever_order_they_are_named_in() -> None:
    assert [check.name for check in chosen(["server", "release"])] == ["release", "server"]
    with pytest.raises(ValueError, match="there are: right-answers, release, speed"):
        chosen(["relase"])


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False
