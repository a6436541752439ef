"""Whom the next pass visits, so that a quiet fleet costs next to nothing however large it is.

Beside those that something happened to, these are the ManagedModels that were not settled at the last visit and
those whose time has come. Everything else would be found as it was left. That is only a saving: now and then, and
after every failure, a pass visits the whole fleet, so a change that was not noticed is made good.
"""

from dormouse_contract.managed_model import Name

# A full pass over 10,000 ManagedModels is about a second of CPU: 0.2 % of a core at this interval.
FULL_PASS_SECONDS = 600.0


class DirtySet:
    """`now` is Unix seconds throughout."""

    def __init__(self, full_pass_seconds: float = FULL_PASS_SECONDS) -> None:
        self._full_pass_seconds = full_pass_seconds
        self._full_pass_at = float("-inf")
        self._unsettled: set[Name] = set()
        self._due: dict[Name, float] = {}

    def everything(self) -> None:
        """The next pass visits the whole fleet."""
        self._full_pass_at = float("-inf")

    def takes_everything(self, now: float) -> bool:
        """Whether it is time for a full pass; asking counts as one. A clock set back brings one forward."""
        if self._full_pass_at <= now < self._full_pass_at + self._full_pass_seconds:
            return False
        self._full_pass_at = now
        return True

    def due(self, now: float) -> list[Name]:
        return [name for name, at in self._due.items() if at <= now]

    def unsettled(self) -> set[Name]:
        """Those with something under way: visited once a tick, when the signal may show what became of it."""
        return set(self._unsettled)

    def visited(self, name: Name, *, settled: bool, again_at: float | None) -> None:
        """`again_at`: when time alone may change what was found; None for never."""
        if settled:
            self._unsettled.discard(name)
        else:
            self._unsettled.add(name)
        if again_at is None:
            self._due.pop(name, None)
        else:
            self._due[name] = again_at

    def forget(self, name: Name) -> None:
        self._unsettled.discard(name)
        self._due.pop(name, None)
