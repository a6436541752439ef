"""How often one object may be written about: a few times at once, then at a steady pace.

Who flaps would else be hundreds of writes a second, paid for by everybody.
"""

from collections.abc import Callable, Container


class Allowance:
    """`burst` at once, and one more after every `seconds`. For each object by its UID; `monotonic` is the clock."""

    def __init__(self, burst: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._burst = burst
        self._seconds = seconds
        self._monotonic = monotonic
        # When all of it is there again.
        self._full_at: dict[str, float] = {}

    def has_one(self, uid: str) -> bool:
        full_at = self._full_at.get(uid, 0.0)
        return full_at - self._monotonic() <= (self._burst - 1) * self._seconds

    def use(self, uid: str) -> None:
        self._full_at[uid] = max(self._full_at.get(uid, 0.0), self._monotonic()) + self._seconds

    def forget_all_but(self, uids: Container[str]) -> None:
        self._full_at = {uid: at for uid, at in self._full_at.items() if uid in uids}
