"""A few at once, then a steady pace, each object by itself."""

from __future__ import annotations

from dormouse_operator.reporting.allowance import Allowance


def test_a_few_at_once_and_then_one_after_each_time() -> None:
    now = 1000.0
    allowance = Allowance(3, 10.0, lambda: now)
    used: list[float] = []
    for second in range(60):
        now = 1000.0 + second
        while allowance.has_one("bad"):
            allowance.use("bad")
            used.append(second)
        assert allowance.has_one(f"good-{second}")
    assert used == [0, 0, 0, 10, 20, 30, 40, 50]
    now += 30
    allowance.forget_all_but({"bad"})
    for _ in range(3):
        assert allowance.has_one("bad"), "it was quiet for long"
        allowance.use("bad")
    assert not allowance.has_one("bad")
