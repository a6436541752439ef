"""The engine's benchmarks on the simulated device.

examples:
  python -m benchmarks.engine                          all cases, some ten minutes, 14 GB of free host RAM
  python -m benchmarks.engine --quick                  does it run?
  python -m benchmarks.engine --cases 1GB-300,1GB-3000
"""

import argparse
import sys

from rich.console import Console

from .cases import ALL
from .command import add_options, chosen_cases, clean_up_when_terminated, out_file, run_of
from .machine import this_machine
from .page import write_section
from .report import write_json
from .running import CaseFailed
from .terminal import run_with_progress, show

_DEVICE = "sim"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    cases, console, machine = chosen_cases(parser, options, ALL), Console(), this_machine(_DEVICE)
    try:
        outcome = run_with_progress(console, run_of(options, _DEVICE), cases)
    except CaseFailed as failed:
        console.print(str(failed), style="bold red", markup=False, highlight=False)
        return 1
    out = out_file(options, "engine")
    write_json(out, machine, outcome)
    if options.page is not None:
        write_section(options.page, "engine", machine, outcome)
    show(console, machine, outcome)
    console.print(f"written: {out}")
    return 0


if __name__ == "__main__":
    clean_up_when_terminated()
    sys.exit(main())
