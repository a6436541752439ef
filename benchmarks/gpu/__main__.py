"""Everything that only a GPU can prove: checks and benchmarks, the ones worth most first.

examples:
  bash run                                  nine minutes on cuda:0, in the kit that `make gpu-kit` makes
  bash run --minutes 20 --out results
  bash run --only speed release             these, in the order of their worth
  bash run --device sim --minutes 2         without a GPU: do the checks themselves work?

Use a GPU that nobody else uses. gpu.json and gpu.md are written anew after each finding, so a run that is cut off
leaves what was measured. The exit status is the number of checks that did not hold; 64 is a wrong option, 69 a device
or an installation that can't be used.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

from .checks import CHECKS
from .loopback import bring_up
from .outcome import CheckOutcome, GpuRun, Status
from .report import write
from .running import Plan, chosen, results_folder, run_all

USAGE, UNAVAILABLE = 64, 69
# When the kit began, before it made its environment: the minutes count from there.
STARTED = "DORMOUSE_GPU_KIT_STARTED"
_HEAD_SECONDS = 120.0


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> "None":  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"error: {message}\n")


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    names = ", ".join(check.name for check in CHECKS)
    parser = _Options(prog="run", description=__doc__, formatter_class=formatter)
    parser.add_argument("--minutes", type=_minutes, default=9.0, help="for everything (default 9)")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help=f"these checks: {names}")
    parser.add_argument("--device", default="cuda:0", help="cuda:0 (default), another, or sim")
    parser.add_argument("--out", metavar="DIR", help="where gpu.json and gpu.md go (default $OUT, else here)")
    given = parser.parse_args(arguments)
    try:
        given.checks = chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    return given


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value <= 24 * 60:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes from 0 to 1440")
    return value


def main(arguments: list[str] | None = None) -> int:
    given = options(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _cut_off)
    began = time.monotonic() - max(0.0, time.time() - float(os.environ.get(STARTED, time.time())))
    out = results_folder(given.out)
    checks = [CheckOutcome(check.name, check.title) for check in given.checks]
    run = GpuRun({}, checks, given.minutes)

    def wrote() -> None:
        run.seconds = round(time.monotonic() - began, 1)
        write(run, out)

    wrote()
    if not bring_up():
        _say("The loopback interface is down and can't be brought up: checks that ask a server will fail")
    head, problem = _head(given.device)
    if head is None:
        run.cut_off = problem
        for check in checks:
            check.status = Status.NOT_RUN
        wrote()
        print(f"error: {problem}\nNothing was measured.", file=sys.stderr)  # noqa: T201
        return UNAVAILABLE
    run.head = head
    wrote()
    _say(f"{head['device']}{' (simulated: no figure is a GPU’s)' if run.simulated else ''}: {out}/gpu.json and gpu.md")
    try:
        run_all(Plan(given.device, given.checks, began + 60 * given.minutes), run, wrote, _say)
    except _CutOff as cut:
        run.cut_off = f"signal {cut.number} after {time.monotonic() - began:.0f} s"
        for check in checks:
            if check.status in (Status.WAITING, Status.RUNNING):
                check.status = Status.NOT_RUN if check.status is Status.WAITING else Status.OUT_OF_TIME
        wrote()
        _say(run.verdict)
        return 128 + cut.number
    wrote()
    _say(run.verdict)
    return len(checks) - run.held


class _CutOff(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def _cut_off(number: int, frame: FrameType | None) -> None:
    raise _CutOff(number)


def _head(device: str) -> tuple[dict[str, object] | None, str]:
    command = [sys.executable, "-m", "benchmarks.gpu.head", device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_HEAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None, f"device {device!r} did not answer within {_HEAD_SECONDS:.0f} s"
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone; the files are what counts
        print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
