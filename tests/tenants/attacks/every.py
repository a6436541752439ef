"""The table of all attacks."""

from __future__ import annotations

from .. import naming
from ..attack import Attack, Begin, Named
from . import numbers


def _attack(begin: Begin, named: Named, *forged: str) -> Attack:
    return Attack(begin.__name__.replace("_", "-"), begin, named, forged)


ATTACKS = (
    _attack(numbers.two_models_of_1e308_bytes, naming.DISBELIEVED),
    _attack(numbers.figures_in_series, naming.DISBELIEVED),
    _attack(numbers.figures_on_the_wire, naming.PASSED_OVER),
)
