"""Whom a pass visits next: the namespaces in turn, by the time that their visits took.

A namespace whose visits are dear, or many, has them after the others have had theirs, and a pass ends when its time is
up; whoever waits then is visited in the next one. So no tenant delays another by having, or changing, much.
"""

import heapq
from collections.abc import Iterable

from dormouse_contract.managed_model import Name

# What was used in a pass counts half in the next.
KEPT_OF_A_PASS = 0.5
_FORGOTTEN_SECONDS = 1e-4


class _Namespace:
    """Names in the order in which they came: first those that something happened to, then the routine."""

    def __init__(self) -> None:
        self.touched: dict[Name, None] = {}
        self.routine: dict[Name, None] = {}

    def next(self) -> Name | None:
        waiting = self.touched or self.routine
        if not waiting:
            return None
        name = next(iter(waiting))
        del waiting[name]
        return name


class WaitingVisits:
    """Owns who waits for a visit, from one pass to the next."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Namespace] = {}
        self._used: dict[str, float] = {}
        self._turns: list[tuple[float, str]] = []

    def __bool__(self) -> bool:
        return bool(self._namespaces)

    def add(self, names: Iterable[Name], *, routine: bool = False) -> None:
        """`routine`: nothing is known to have happened to them, so they come after the others of their namespace."""
        for name in names:
            waiting = self._namespaces.setdefault(name[0], _Namespace())
            if not routine:
                waiting.routine.pop(name, None)
                waiting.touched.setdefault(name)
            elif name not in waiting.touched:
                waiting.routine.setdefault(name)

    def begin_pass(self) -> None:
        self._used = {
            namespace: used * KEPT_OF_A_PASS for namespace, used in self._used.items() if used > _FORGOTTEN_SECONDS
        }
        self._turns = [(self._used.get(namespace, 0.0), namespace) for namespace in self._namespaces]
        heapq.heapify(self._turns)

    def next(self) -> Name | None:
        """Of the namespace that had the least time so far; `took` must follow. None when nobody waits any more."""
        while self._turns:
            _, namespace = heapq.heappop(self._turns)
            name = self._namespaces[namespace].next()
            if name is not None:
                return name
            del self._namespaces[namespace]
        return None

    def took(self, namespace: str, seconds: float) -> None:
        """The visit that `next` called for took so much time of the loop."""
        used = self._used[namespace] = self._used.get(namespace, 0.0) + seconds
        heapq.heappush(self._turns, (used, namespace))
