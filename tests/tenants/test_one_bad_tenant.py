"""With any one bad tenant, an honest model is ordered to sleep as soon as it is without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .attack import Attack
from .attacks.every import ATTACKS
from .town import Town


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_it_harms_nobody_else(town: Town, attack: Attack, record_property: Callable[[str, object], None]) -> None:
    town.operated_by()
    seen, found = town.attacked_by(attack)
    figures = f"honest p99 {seen.p99:.2f} s (without it {town.baseline:.2f} s); /healthz {seen.worst_health}"
    record_property("figures", figures)
    assert not found, "\n".join([figures, *found])
