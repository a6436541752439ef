"""Runs the checks one after the other, each in a separate process, and keeps what each has found as it comes."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checks import CHECKS, Check
from .outcome import CheckOutcome, Finding, GpuRun, Status
from .processes import kill_group, start

# A check plans for its share of the time, and is ended only after a few times as much: a slow machine takes from what
# comes later rather than lose what was begun. For each later check at least this is left.
_LIMIT_OF_SHARE = 3.0
_LEFT_FOR_EACH_SECONDS = 4.0
# Left for writing the files at the end.
_RESERVE_SECONDS = 1.0
_LEAST_SECONDS = 3.0
_LAST_WORDS = 3000

Wrote = Callable[[], None]
Say = Callable[[str], None]
# Of one check's process: the check, the device, its seconds, its limit, its folder.
CommandFor = Callable[[Check, str, float, float, str], list[str]]


def command_for(check: Check, device: str, seconds: float, limit: float, folder: str) -> list[str]:
    """`one_check` in the Python of now."""
    command = [sys.executable, "-m", "benchmarks.gpu.one_check", check.name, device]
    return [*command, f"{seconds:.1f}", f"{limit:.1f}", folder]


@dataclass(frozen=True, slots=True)
class Plan:
    """device: a name as `open_device` takes it. ends: when the run is over, by `time.monotonic`."""

    device: str
    checks: tuple[Check, ...]
    ends: float
    command_for: CommandFor = command_for

    def seconds(self, number: int, now: float) -> tuple[float, float]:
        """For the check at `number`, if it starts now: its share of what is left, and its limit."""
        left = self.ends - _RESERVE_SECONDS - now
        shares = sum(check.share for check in self.checks[number:])
        share = left * self.checks[number].share / shares
        later = _LEFT_FOR_EACH_SECONDS * (len(self.checks) - number - 1)
        return share, max(share, min(_LIMIT_OF_SHARE * share, left - later))


def chosen(names: Sequence[str]) -> tuple[Check, ...]:
    """In the order of their worth. Raises `ValueError` that names the checks there are."""
    known = {check.name for check in CHECKS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no check {name!r}; there are: {', '.join(check.name for check in CHECKS)}")
    return tuple(check for check in CHECKS if not names or check.name in names)


def run_all(plan: Plan, run: GpuRun, wrote: Wrote, say: Say) -> None:
    """Fills `run`, and calls `wrote` after each change of it."""
    for number, (check, outcome) in enumerate(zip(plan.checks, run.checks, strict=True)):
        seconds, limit = plan.seconds(number, time.monotonic())
        if seconds < _LEAST_SECONDS:
            outcome.status, outcome.ended = Status.NOT_RUN, "the time was used up; give --minutes more"
        else:
            say(f"{number + 1}/{len(plan.checks)} {check.title} ({seconds:.0f} s planned, at most {limit:.0f})")
            _run_one(plan, check, (seconds, limit), outcome, wrote, say)
        say(f"  {_ended(outcome)}")
        wrote()


def _ended(outcome: CheckOutcome) -> str:
    holding, known = sum(bool(f.held) for f in outcome.findings), [f for f in outcome.findings if f.held is not None]
    words = f"{outcome.check}: {outcome.status}, {holding} of {len(known)} findings, {outcome.seconds:.0f} s"
    return f"{words}\n    {outcome.ended}" if outcome.ended else words


def _run_one(
    plan: Plan, check: Check, allowed: tuple[float, float], outcome: CheckOutcome, wrote: Wrote, say: Say
) -> None:
    seconds, limit = allowed
    outcome.status, outcome.limit_seconds = Status.RUNNING, round(limit, 1)
    wrote()
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix=f"dormouse-{check.name}-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile("w+", errors="replace") as errors,
    ):
        command = plan.command_for(check, plan.device, seconds, limit, folder)
        process = start(command, new_group=True, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
        try:
            in_time = _follow(process.stdout.fileno(), started + limit, outcome, wrote, say)  # type: ignore[union-attr]
            status = process.wait(max(1.0, started + limit - time.monotonic())) if in_time else None
        except subprocess.TimeoutExpired:
            status = None
        finally:
            kill_group(process)
            outcome.seconds = round(time.monotonic() - started, 1)
        _judge(outcome, status, _last_words(errors))


def _judge(outcome: CheckOutcome, status: int | None, last_words: str) -> None:
    if status is None:
        outcome.status = Status.OUT_OF_TIME
        outcome.ended = f"ended after its {outcome.limit_seconds:.0f} s; what it had found is kept"
    elif status != 0:
        how = f"killed by signal {-status}" if status < 0 else f"status {status}"
        outcome.status, outcome.ended = Status.CRASHED, f"broke off ({how}): {last_words}"
    else:
        outcome.status = outcome.verdict()
        if not any(finding.held is not None for finding in outcome.findings):
            outcome.ended = "nothing could be tried here"


def _follow(pipe: int, ends: float, outcome: CheckOutcome, wrote: Wrote, say: Say) -> bool:
    """Take in what the check says until it closes its end; False when the time was up before."""
    for line in _lines(pipe, ends):
        if line is None:
            return False
        said: dict[str, Any] = json.loads(line)
        if "finding" in said:
            finding = Finding(**said["finding"])
            outcome.findings.append(finding)
            say(f"    {_mark(finding)} {finding.what}" + (f" ({finding.detail})" if finding.detail else ""))
            wrote()
        elif "figures" in said:
            outcome.figures.update(said["figures"])
            wrote()
        else:
            say(f"    .. {said.get('step', '')}")
    return True


def _mark(finding: Finding) -> str:
    return {True: "ok    ", False: "FAILED", None: "–     "}[finding.held]


def _lines(pipe: int, ends: float) -> Iterator[bytes | None]:
    received = b""
    while True:
        left = ends - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            yield None
            return
        chunk = os.read(pipe, 65536)
        if not chunk:
            return
        *whole, received = (received + chunk).split(b"\n")
        yield from whole


def _last_words(errors: Any) -> str:
    errors.seek(0)
    return str(errors.read())[-_LAST_WORDS:].strip()


def results_folder(given: str | None) -> Path:
    """`--out`, else `$OUT`, else here."""
    return Path(given or os.environ.get("OUT") or ".")
