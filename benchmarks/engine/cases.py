"""Which models are measured: how many bytes, in how many parameters.

Bytes say what a copy costs, parameters what bookkeeping costs, and only both together show which of the two a
transition is made of. Sizes are decimal: 1 GB is 10^9 bytes, as link and memory speeds are given.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# float32 rows of `stack.WIDTH` columns: every size is a whole number of them.
ROW_BYTES = 400
# Beside the weights: an interpreter with torch, its threads, and what the allocator keeps.
_PROCESS_BYTES = 10**9
# On `sim` at the peak: the mirror, the device's memory and the source of the memcpy are all in host RAM.
_COPIES_IN_HOST_RAM = 3
_SIZES = {"MB": 10**6, "GB": 10**9}
_NAME = re.compile(r"(?P<number>\d+)(?P<unit>MB|GB)-(?P<parameters>\d+)(?P<frozen>-frozen)?")


@dataclass(frozen=True, slots=True)
class Case:
    """One model: `nbytes` of float32 weights in so many parameters. frozen: declared so, hence never checked."""

    nbytes: int
    parameters: int
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.nbytes % ROW_BYTES or not 0 < self.parameters <= self.nbytes // ROW_BYTES:
            raise ValueError(f"{self.nbytes} bytes are not {self.parameters} parameters of rows of {ROW_BYTES} bytes")

    @property
    def name(self) -> str:
        unit = "GB" if self.nbytes % _SIZES["GB"] == 0 else "MB"
        return f"{self.nbytes // _SIZES[unit]}{unit}-{self.parameters}{'-frozen' if self.frozen else ''}"

    @property
    def host_bytes_needed(self) -> int:
        return _COPIES_IN_HOST_RAM * self.nbytes + _PROCESS_BYTES


def parse(name: str) -> Case:
    """`1GB-300` or `4GB-3000-frozen`. Raises `ValueError` that shows how a name looks."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"case {name!r} is not known; write size and parameters, as in 1GB-300 or 4GB-3000-frozen")
    return Case(int(match["number"]) * _SIZES[match["unit"]], int(match["parameters"]), match["frozen"] is not None)


def parse_all(names: Iterable[str]) -> tuple[Case, ...]:
    return tuple(parse(name) for name in names)


ALL = parse_all(
    (
        *(f"{size}-{parameters}" for size in ("100MB", "1GB", "4GB") for parameters in (10, 300, 3000)),
        "1GB-300-frozen",
        "4GB-3000-frozen",
    )
)
QUICK = parse_all(("2MB-10", "16MB-100", "16MB-100-frozen"))
