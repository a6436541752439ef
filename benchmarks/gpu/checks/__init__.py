"""The checks, worth first: a run that is cut off has done the ones that matter most. No torch.

Each is a module of this package with one function, `run(report)`. It ends by itself, raises nothing that it expects,
and goes by `report.left` in how much it does.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """share: of the run's time, beside the shares of the others; what one leaves over goes to those after it."""

    name: str
    title: str
    share: float

    @property
    def module(self) -> str:
        return f"{__name__}.{self.name.replace('-', '_')}"


CHECKS = (
    Check("right-answers", "Right answers: every kind of model over every tier, bit-equal to a twin", 15),
    Check("release", "Release: what the driver shows before and after each transition", 10),
    Check("speed", "Speed: restore, offload and check beside a plain pinned copy", 32),
    Check("full-gpu", "A full GPU: waits, rolls back to a whole tier, succeeds when there is room", 9),
    Check("two-processes", "Two processes swap one GPU under requests", 9),
    Check("stable-addresses", "Stable addresses: CUDA graphs and compiled code go on working", 12),
    Check("faults", "Faults on the device: what the next request gets, and what the page says", 6),
    Check("server", "A server: 50 clients, timeouts of 0 to 2 s, and what Dormouse costs an awake model", 20),
)
