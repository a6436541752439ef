"""What the engine promises, judged on measured figures: by ratios to what was measured beside them in the same run.

Seconds would say how fast a machine is: what one machine holds, another misses with the same code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# A restore without the check, as a share of the speed of a memcpy: the calls and the chunks may cost the rest.
LEAST_SHARE_OF_MEMCPY = 0.90
# An offload: what the bookkeeping may take beside the bytes, and with the check how much longer than a memcpy it is.
OFFLOAD_SECONDS = 0.020
OFFLOAD_OF_MEMCPY = 1.3
# An offload that is not checked is bookkeeping alone.
FROZEN_OFFLOAD_OF_MEMCPY = 0.25
# A reload from a safetensors file, and how many parameters there may be: with more, both are made of bookkeeping.
RELOAD_OF_LOAD_FILE = 1.2
RELOAD_PARAMETERS = 300
# The mirror, over the bytes of the weights: alignment of each tensor is in it.
MOST_HOST_SHARE = 1.05

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """at_least: the value may not be less than the limit; else not more."""

    case: str
    target: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def judge(figures: Figures) -> Iterator[Verdict]:
    """The targets that hold for one case."""
    case, nbytes, parameters = figures["case"], figures["bytes"], figures["parameters"]
    memcpy, offload = figures["memcpy_seconds"], figures["offload_seconds"]
    if nbytes >= 10**9 and parameters == 300:
        share = memcpy / figures["restore_seconds"]
        yield Verdict(case, "restore, share of memcpy speed", share, LEAST_SHARE_OF_MEMCPY, at_least=True)
    if figures["frozen"]:
        if nbytes >= 10**9:
            yield Verdict(case, "offload frozen ÷ memcpy", offload / memcpy, FROZEN_OFFLOAD_OF_MEMCPY)
    else:
        checked = (offload - OFFLOAD_SECONDS) / memcpy
        yield Verdict(case, "offload with the check, less 20 ms, ÷ memcpy", checked, OFFLOAD_OF_MEMCPY)
    if parameters <= RELOAD_PARAMETERS:
        reload = figures["reload_seconds"] / figures["safetensors_seconds"]
        yield Verdict(case, "reload ÷ load_file", reload, RELOAD_OF_LOAD_FILE)
    yield Verdict(case, "offload, bytes copied", figures["offload_bytes_copied"], 0)
    yield Verdict(case, "host RAM, share of the weights", figures["host_bytes"] / nbytes, MOST_HOST_SHARE)
