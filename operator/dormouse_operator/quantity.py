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
