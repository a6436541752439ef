"""Runs a command of the operator and notes where its CPU time goes: `python -m benchmarks.operator.sampled OUT run …`.

A signal comes after each few milliseconds of CPU time, and the stack of that moment is counted. That costs a few
percent, where cProfile doubles what it measures and makes small functions look large. SIGUSR2 ends a phase: what was
counted goes to OUT/1.txt, OUT/2.txt and so on.
"""

import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.004
SHOWN = 120


class Samples:
    """alone: times that a function itself ran. within: times that it or something that it called did."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._phase = 0
        self._clear()

    def _clear(self) -> None:
        self._total = 0
        self._alone: Counter[str] = Counter()
        self._within: Counter[str] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        self._total += 1
        if frame is not None:
            self._alone[_name(frame)] += 1
        seen: set[str] = set()
        while frame is not None:
            seen.add(_name(frame))
            frame = frame.f_back
        self._within.update(seen)

    def write(self, *_: object) -> None:
        total, counted = self._total, (("with what it calls", self._within), ("alone", self._alone))
        # First of all: what follows takes CPU time as well, and is counted as any other.
        self._clear()
        self._phase += 1
        lines = [f"{total * INTERVAL_SECONDS:.2f} s of CPU"]
        for title, counts in counted:
            lines += ["", title]
            lines += [f"{100 * count / total:6.1f} %  {name}" for name, count in counts.most_common(SHOWN)]
        (self._directory / f"{self._phase}.txt").write_text("\n".join([*lines, ""]))


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.rsplit('/', 3)[1:])}:{code.co_firstlineno} {code.co_qualname}"


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    samples = Samples(directory)
    signal.signal(signal.SIGUSR2, samples.write)
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    from dormouse_operator.cli import main as operator

    sys.exit(operator(sys.argv[2:]))


if __name__ == "__main__":
    main()
