"""Bytes as Kubernetes writes them (13.8Gi)."""

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def as_quantity(count: float) -> str:
    """Bytes with one decimal at most, rounded down so that no more is claimed than was measured."""
    size, unit = max(0.0, count), 0
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
                return _positive(text.removesuffix(unit)) * base**power
    return _positive(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
