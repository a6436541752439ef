"""The engine's benchmarks on a CUDA device: the same measurements, and whether a restore takes what it should.

examples:
  python -m benchmarks.gpu                             cuda:0, all cases, and 40 GB where there is room
  python -m benchmarks.gpu cuda:1 --cases 4GB-300
  python -m benchmarks.gpu --page docs/benchmarks.md   the tables go into the page

Use a GPU that nobody else uses. What the device holds by mem_get_info and by NVML is kept before and after each
transition, in build/bench/gpu.json.
"""

import argparse
import sys
from dataclasses import asdict

import torch
from rich.console import Console

from benchmarks.engine.cases import ALL, Case, parse
from benchmarks.engine.command import add_options, chosen_cases, clean_up_when_terminated, out_file, run_of
from benchmarks.engine.machine import this_machine
from benchmarks.engine.page import write_section
from benchmarks.engine.report import write_json
from benchmarks.engine.running import CaseFailed
from benchmarks.engine.terminal import run_with_progress, show

from .prediction import predict, sentences

_LARGE = parse("40GB-300")
# Beside the weights: the CUDA context, workspaces, an answer's activations.
_DEVICE_BYTES_BESIDE = 2 * 10**9


def cases_for(free_device_bytes: int) -> tuple[Case, ...]:
    """All that fit on the device. Host RAM is looked at case by case."""
    return tuple(case for case in (*ALL, _LARGE) if case.nbytes + _DEVICE_BYTES_BESIDE <= free_device_bytes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("device", nargs="?", default="cuda:0", help="default cuda:0")
    add_options(parser)
    options = parser.parse_args(arguments)
    console = Console()
    if not torch.cuda.is_available():
        Console(stderr=True).print("No GPU: torch sees no CUDA device here, so nothing was measured.", highlight=False)
        return 2
    cases = chosen_cases(parser, options, cases_for(torch.cuda.mem_get_info(options.device)[0]))
    machine = this_machine(options.device)
    try:
        outcome = run_with_progress(console, run_of(options, options.device), cases)
    except CaseFailed as failed:
        console.print(str(failed), style="bold red", markup=False, highlight=False)
        return 1
    predictions = [predict(figures) for figures in outcome.figures]
    said = tuple(sentences(outcome.figures))
    out = out_file(options, "gpu")
    more = [{**asdict(prediction), "held": prediction.held} for prediction in predictions]
    write_json(out, machine, outcome, {"predictions": more})
    if options.page is not None:
        write_section(options.page, "gpu", machine, outcome, tuple(f"- {sentence}" for sentence in said))
    show(console, machine, outcome)
    for sentence in said:
        console.print(sentence, highlight=False)
    console.print(f"written: {out}")
    return 0


if __name__ == "__main__":
    clean_up_when_terminated()
    sys.exit(main())
