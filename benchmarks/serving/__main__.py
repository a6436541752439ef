"""`python -m benchmarks.serving`: writes build/bench/serving.json and says what was met.

python -m benchmarks.serving                    both, about two and a half minutes
python -m benchmarks.serving --seconds 10 --pairs 2   a quick look
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from .latency import compare
from .load import right_answers, storm
from .servers import Subject, with_dormouse, without

_OUT = Path("build/bench/serving.json")
_MAX_RATIO = 1.10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts (default 60)")
    parser.add_argument("--clients", type=int, default=50, help="clients of the load (default 50)")
    parser.add_argument("--pairs", type=int, default=12, help="interleaved pairs for the latency (default 12)")
    given = parser.parse_args()
    subject = Subject()
    with with_dormouse(subject) as url:
        print(f"load: {given.clients} clients for {given.seconds:g} s, timeouts of 0 to 2 s", flush=True)  # noqa: T201
        load = asyncio.run(storm(url, given.clients, given.seconds, right_answers(subject.torch_device)))
        print(f"  {load}", flush=True)  # noqa: T201
        with without(subject) as plain_url:
            print(f"latency of an awake model: {given.pairs} interleaved pairs", flush=True)  # noqa: T201
            latency = asyncio.run(compare(url, plain_url, given.pairs))
    ratio = latency["p99_ratio_median"]
    print(f"  p99 with / without Dormouse: median ratio {ratio:.3f} (at most {_MAX_RATIO} is wanted)")  # noqa: T201
    _OUT.parent.mkdir(parents=True, exist_ok=True)
    _OUT.write_text(json.dumps({"load": load, "latency": latency}, indent=2) + "\n")
    return 0 if load["failed"] == load["wrong"] == 0 and ratio <= _MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
