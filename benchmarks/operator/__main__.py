"""What the operator costs, and how quickly it acts, at several sizes of the fleet on a real API server.

examples:
  python -m benchmarks.operator                       100, 1,000 and 10,000 models: some twenty minutes, 3 GB of RAM
  python -m benchmarks.operator --sizes 100 --tick 2  does it run?
  python -m benchmarks.operator --sizes 1000 --bad 0 --samples build/bench/samples   where does the CPU time go?
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

from .bad import kinds
from .one_size import measure
from .page import machine, write_page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="100,1000,10000", help="comma-separated numbers of models")
    parser.add_argument("--tick", type=float, default=15.0, help="seconds; also the scrape interval (default 15)")
    parser.add_argument("--bad", type=int, help="so many of them are bad, in ways that take turns (default 1 %%)")
    parser.add_argument("--samples", type=Path, help="a folder for what the CPU time went to, phase by phase")
    parser.add_argument("--out", type=Path, default=Path("build/bench/operator.json"))
    parser.add_argument("--page", type=Path, help="the page whose table is written anew")
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {text}", flush=True)  # noqa: T201 - a command's output

    content = {
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "tick_seconds_set": options.tick,
        "prometheus": "real; the replicas of a namespace are one target, with the labels of their pods",
        "replicas": "one server that answers for all pods, with the operator's real mTLS",
        "sizes": [],
    }
    for size in map(int, options.sizes.split(",")):
        bad = kinds(size // 100 if options.bad is None else options.bad)
        samples = options.samples.resolve() / str(size) if options.samples else None
        figures = asyncio.run(measure(size, options.tick, say, bad=bad, samples=samples))
        content["sizes"].append(figures.as_dict())
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=2) + "\n")
        say(f"{size}: {figures.as_dict()}")
    if options.page is not None:
        write_page(options.page, content)
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
