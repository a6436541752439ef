"""The figures of a run in docs/benchmarks.md: `python -m benchmarks.gpu.page GPU_JSON [PAGE]`, or `make gpu-page`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engine.page import replaced

from .outcome import GpuRun
from .report import RAW, from_json, head_lines, summary, table

PAGE = Path("docs/benchmarks.md")


def section(run: GpuRun) -> str:
    """What the page says of a run. Raises `ValueError` for one on the simulated device: its figures are no GPU's."""
    if run.simulated or not run.head:
        raise ValueError("this run was on no GPU, and only a GPU's figures stand in that part of the page")
    return "\n".join(_lines(run)).rstrip()


def _lines(run: GpuRun) -> Iterator[str]:
    yield from (*head_lines(run), "", f"**{run.verdict}**", "")
    if not run.complete or run.cut_off:
        yield from (f"The run was cut off: {run.cut_off or 'nobody knows by what'}.", "")
    yield from (*summary(run), "")
    problems = [(check, finding) for check in run.checks for finding in check.failed]
    if problems:
        yield from ("What did not hold:", "")
        yield from (f"- {check.check}: {finding.what} ({finding.detail})" for check, finding in problems)
        yield ""
    for check in run.checks:
        for name, figures in check.figures.items():
            if not name.startswith(RAW):
                yield from (f"**{check.check}: {name}**", "", *table(figures), "")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.page", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="GPU_JSON", help="what a run on a GPU wrote")
    parser.add_argument("page", type=Path, nargs="?", default=PAGE, help=f"default {PAGE}")
    given = parser.parse_args(arguments)
    try:
        text = replaced(given.page.read_text(), "gpu", section(from_json(given.run.read_text())))
    except (OSError, ValueError) as problem:
        print(f"error: {problem}. The page is as it was.", file=sys.stderr)  # noqa: T201
        return 1
    given.page.write_text(text)
    print(f"{given.page}: the part 'On a GPU' has the figures of {given.run}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
