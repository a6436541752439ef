"""Bytes as Kubernetes writes them (13.8Gi)."""

import re

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
# Kubernetes holds a quantity in 64 bits.
_MOST = 2**63 - 1
# Python would take 1_000 and digits of other scripts.
_NUMBER = re.compile(r"[0-9]{1,32}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,3})?")


def as_quantity(count: float) -> str:
    """Bytes with one decimal at most, rounded down so that no more is claimed than was measured. Takes any number."""
    size, unit = float(min(max(0.0, count), _MOST)), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    if unit == 0:
        return str(int(size))
    tenths = int(size * 10)
    return f"{tenths // 10}{_UNITS[unit]}" if tenths % 10 == 0 else f"{tenths / 10:.1f}{_UNITS[unit]}"


def from_quantity(text: str) -> float:
    """Bytes from 80Gi, 80G or a plain number. Raises ValueError for anything else, nothing and less included."""
    text = text.strip()
    for factors, base in ((_UNITS[1:], 1024.0), ([unit[0] for unit in _UNITS[1:]], 1000.0)):
        for power, unit in enumerate(factors, start=1):
            if text.endswith(unit):
                return positive(text.removesuffix(unit), base**power)
    return positive(text)


def positive(text: str, factor: float = 1.0) -> float:
    """A number above 0, times `factor`. Raises ValueError for anything else."""
    value = float(text) * factor if _NUMBER.fullmatch(text.strip()) else 0.0
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
