"""What the engine promises, judged on measured figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# A restore without the check, as a share of the speed of a memcpy: the calls and the chunks may cost the rest.
LEAST_SHARE_OF_MEMCPY = 0.90
# An offload: what the bookkeeping may take, and the checksum on top (twice a memcpy on two cores).
OFFLOAD_SECONDS = 0.020
OFFLOAD_SECONDS_PER_GB = 0.1
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
    if nbytes >= 10**9 and parameters == 300:
        share = figures["memcpy_seconds"] / figures["restore_seconds"]
        yield Verdict(case, "restore, share of memcpy speed", share, LEAST_SHARE_OF_MEMCPY, at_least=True)
    if figures["frozen"]:
        yield Verdict(case, "offload frozen, seconds", figures["offload_seconds"], OFFLOAD_SECONDS)
    elif parameters == 3000:
        limit = OFFLOAD_SECONDS + OFFLOAD_SECONDS_PER_GB * nbytes / 1e9
        yield Verdict(case, "offload with the check, seconds", figures["offload_seconds"], limit)
    yield Verdict(case, "offload, bytes copied", figures["offload_bytes_copied"], 0)
    yield Verdict(case, "host RAM, share of the weights", figures["host_bytes"] / nbytes, MOST_HOST_SHARE)
