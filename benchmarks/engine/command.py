"""The options that both benchmarks have; see `python -m benchmarks.engine --help`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .cases import QUICK, Case, parse_all
from .running import Run

_ROUNDS = 7
_QUICK_ROUNDS = 3
BUILD = Path("build/bench")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--cases", metavar="NAME,…", help="these: SIZE-PARAMETERS[-frozen], as in 1GB-300,4GB-3000-frozen"
    )
    parser.add_argument("--quick", action="store_true", help="tiny models and few rounds: does it run? (seconds)")
    parser.add_argument(
        "--rounds", type=int, help=f"how often each move is measured (default {_ROUNDS}, quick {_QUICK_ROUNDS})"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the JSON goes")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page whose table is replaced, docs/benchmarks.md")


def chosen_cases(parser: argparse.ArgumentParser, options: argparse.Namespace, usual: Sequence[Case]) -> Sequence[Case]:
    """Ends the process with a sentence when a name is wrong."""
    if options.cases is None:
        return QUICK if options.quick else usual
    try:
        return parse_all(options.cases.split(","))
    except ValueError as error:
        parser.error(str(error))


def clean_up_when_terminated() -> None:
    """A SIGTERM ends the case's process and removes its weights, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def run_of(options: argparse.Namespace, device: str) -> Run:
    BUILD.mkdir(parents=True, exist_ok=True)
    return Run(device, options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS), BUILD)


def out_file(options: argparse.Namespace, name: str) -> Path:
    """Where the JSON goes; quick figures never take the place of real ones by themselves."""
    return options.out or BUILD / f"{name}{'-quick' if options.quick else ''}.json"
