"""What a restore should take on a link that is known, and whether it does: pure, for figures measured elsewhere.

A copy is bytes over bandwidth, a call costs what it costs to issue, and the rest is fixed. A restore that takes
longer than that waits for something that is not the link.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.engine.targets import Figures

# Of `cudaMemcpyAsync`, as measured by others; and what the engine copies at once.
SECONDS_PER_CALL = 2.3e-6
CHUNK_BYTES = 256 << 20
# A stream's hand-over and the last synchronisation.
FIXED_SECONDS = 0.0005
# How much longer than predicted a restore may take.
TOLERANCE = 1.10
# PCIe Gen5 x16 gives about 55 GB/s to pinned memory, Gen4 about 26.
GEN5_BYTES_PER_SECOND = 45e9
LARGE_BYTES = 40 * 10**9
LARGE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """predicted_per_tensor_seconds: with one copy per parameter, for comparison."""

    case: str
    bandwidth_bytes_per_second: float
    predicted_seconds: float
    predicted_per_tensor_seconds: float
    measured_seconds: float

    @property
    def held(self) -> bool:
        return self.measured_seconds <= TOLERANCE * self.predicted_seconds


def predict(figures: Figures) -> Prediction:
    """The bandwidth is that of the pinned memcpy of as many bytes, measured in turn with the restores."""
    nbytes, bandwidth = figures["bytes"], figures["bytes"] / figures["memcpy_seconds"]
    base = nbytes / bandwidth + FIXED_SECONDS
    return Prediction(
        figures["case"],
        bandwidth,
        base + math.ceil(nbytes / CHUNK_BYTES) * SECONDS_PER_CALL,
        base + figures["parameters"] * SECONDS_PER_CALL,
        figures["restore_seconds"],
    )


def sentences(all_figures: Iterable[Figures]) -> Iterator[str]:
    for figures in all_figures:
        one = predict(figures)
        took, expected = one.measured_seconds * 1e3, one.predicted_seconds * 1e3
        yield (
            f"{one.case}: restore {took:.1f} ms, predicted {expected:.1f} ms at "
            f"{one.bandwidth_bytes_per_second / 1e9:.1f} GB/s: {'as predicted' if one.held else 'SLOWER'}"
        )
        if figures["bytes"] >= LARGE_BYTES:
            yield _large(figures, one)


def _large(figures: Figures, one: Prediction) -> str:
    wake = figures["wake_seconds"]
    if one.bandwidth_bytes_per_second < GEN5_BYTES_PER_SECOND:
        return f"{one.case}: back in {wake:.2f} s; the link is slower than Gen5, so 1 s is not asked for"
    return f"{one.case}: back in {wake:.2f} s on a Gen5 link: {'met' if wake < LARGE_SECONDS else 'MISSED'}"
