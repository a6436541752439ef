"""A number as Prometheus and its exporters write it: that of Go's `strconv.FormatFloat`, and nothing else. Pure.

`float()` takes more: `1_000`, ` 1`, `+1`, `infinity` and the digits of every script. An exponent may lack its sign, as
some proxies write it.
"""

import re

# Go writes the shortest digits that give the same float: 309 of them for the largest without an exponent, and after the
# point 324 zeros and 17 digits for the smallest.
_NUMBER = re.compile(r"-?[0-9]{1,310}(?:\.[0-9]{1,350})?(?:e[+-]?[0-9]{1,3})?|NaN|[+-]Inf")


def number(text: str) -> float:
    """Raises ValueError. A number that is too large for a float is infinite."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("no number as Prometheus writes it")
    return float(text)
