"""What a restore should take on a link that is known: pure, for figures measured elsewhere.

A copy is bytes over bandwidth, a call costs what it costs to issue, and the rest is fixed. A restore that takes
longer than that waits for something that is not the link.
"""

import math
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

    bandwidth_bytes_per_second: float
    predicted_seconds: float
    predicted_per_tensor_seconds: float
    measured_seconds: float

    @property
    def share_of_predicted(self) -> float:
        return self.measured_seconds / self.predicted_seconds


def predict(figures: Figures) -> Prediction:
    """The bandwidth is that of the pinned memcpy of as many bytes, measured in turn with the restores."""
    nbytes, bandwidth = figures["bytes"], figures["bytes"] / figures["memcpy_seconds"]
    base = nbytes / bandwidth + FIXED_SECONDS
    return Prediction(
        bandwidth,
        base + math.ceil(nbytes / CHUNK_BYTES) * SECONDS_PER_CALL,
        base + figures["parameters"] * SECONDS_PER_CALL,
        figures["restore_seconds"],
    )
