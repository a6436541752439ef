"""Which namespaces are asked for together, and what is remembered of those that are too much for one answer. Pure.

All of them are asked for at once, which is the rule. A namespace that was found too large is asked for by the names of
its pods from then on, and a pod that is too large by itself is not asked for at all; both are tried again as a whole
after some looks, less and less often. So one flood costs a few small answers, and each other namespace is known.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dormouse_contract.managed_model import Name

from .parts import LEAST_BYTES_OF_A_SERIES, Part, of_namespaces, of_pods
from .wanted import Wanted

# In looks, of a tick each.
FIRST_RETRY_LOOKS, MOST_RETRY_LOOKS = 4, 32
MOST_PODS, LEAST_PODS = 20_000, 64
Unit = tuple[str, ...]
"""A namespace, or a namespace and a pod, as in `IdleSignal.unread`."""


@dataclass(frozen=True, slots=True)
class _TooLarge:
    found: int
    retry: int


class Split:
    """For one look: `begin`, then `parts` for each question, `failed` for each part that was too much, and `end`."""

    def __init__(self) -> None:
        self._wanted = Wanted()
        self._names: list[str] = []
        self._look = 0
        self._too_large: dict[Unit, _TooLarge] = {}
        # Nobody knows yet which namespace of these is it: the time of a look was over.
        self._unresolved: list[Part] = []
        self._left: list[Part] = []
        self._most_pods = MOST_PODS
        self._too_many_pods = 0

    def begin(self, wanted: Wanted) -> None:
        self._wanted, self._look = wanted, self._look + 1
        self._names = sorted(wanted.pods_in)
        self._too_many_pods = 0
        self._unresolved = [
            Part(namespaces=names)
            for part in self._left
            if (names := tuple(name for name in part.namespaces if name in wanted.pods_in))
        ]
        self._left = []

    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is asked now, each of them once: first those that were answered before, as far as anybody knows."""
        unresolved = _namespaces(self._unresolved)
        too_large = self.too_large
        by_pods = [name for name in sorted(too_large) if not self._is_retried((name,))]
        elsewhere = unresolved | too_large | _namespaces(self._left)
        whole = (name for name in self._names if name not in elsewhere)
        retried = sorted(too_large.difference(by_pods, unresolved))
        return [
            *of_namespaces(whole, self._wanted.pods_in, self._most_pods),
            *of_pods(pod for name in by_pods for pod in self._pods_of(name)),
        ], [*self._unresolved, *(Part(namespaces=(name,)) for name in retried)]

    def limit_bytes(self, part: Part) -> int:
        return part.limit_bytes(self._wanted.pods_in)

    def failed(self, part: Part, series: Mapping[Unit, int]) -> tuple[Part, ...]:
        """What is asked instead of a part that was too much; empty when nothing is left to ask.

        series: how many there are of each of its units, where that could be asked. Whose are too many for an answer is
        found without more ado, else by halves.
        """
        if part in self._unresolved:
            # Its halves say who it is; the others are asked for with everybody else from here on.
            self._unresolved.remove(part)
        heavy = {unit for unit in part.units if self._is_heavy(unit, series.get(unit, 0))}
        if not heavy and len(part.namespaces) > 1:
            size = sum(self._wanted.pods_in.get(name, 0) for name in part.namespaces)
            self._too_many_pods = min(self._too_many_pods or size, size)
        halves = () if heavy else part.halves()
        if halves:
            return halves
        heavy = heavy or set(part.units)
        for unit in heavy:
            self._found(unit)
        rest = part.without(heavy)
        pods = (pod for unit in sorted(heavy) if len(unit) == 1 for pod in self._pods_of(unit[0]))
        return (*([rest] if rest.units else []), *of_pods(pods))

    def left(self, part: Part) -> None:
        """The time of the look was over before it was asked, so the next one begins with it."""
        if part not in self._left:
            self._left.append(part)

    def end(self) -> None:
        """Forgets what fits into an answer again, and what is asked for no more."""
        found_now = any(each.found == self._look for each in self._too_large.values())
        if self._too_many_pods and not found_now and not self._left:
            # Nobody is too large: all of them together are.
            self._most_pods = max(LEAST_PODS, self._too_many_pods // 2)
        elif self._look % MOST_RETRY_LOOKS == 0:
            self._most_pods = min(MOST_PODS, 2 * self._most_pods)
        left = _namespaces(self._left)
        for unit in list(self._too_large):
            is_well = self._is_retried(unit) and unit[0] not in left
            if is_well or unit[0] not in self._wanted.pods_in:
                del self._too_large[unit]

    def forget(self) -> None:
        """Prometheus answered nobody, so what was found is no fact about a namespace."""
        self._too_large.clear()

    @property
    def too_large(self) -> frozenset[str]:
        """The namespaces that don't fit into an answer."""
        return frozenset(unit[0] for unit in self._too_large if len(unit) == 1 and unit[0] in self._wanted.pods_in)

    @property
    def pods_too_large(self) -> list[Name]:
        """Those of them that don't fit into an answer by themselves."""
        namespaces = self.too_large
        return [(unit[0], unit[1]) for unit in self._too_large if len(unit) == 2 and unit[0] in namespaces]

    @property
    def not_in_time(self) -> list[Unit]:
        """What this look had no time for."""
        return [unit for part in self._left for unit in part.units]

    def _pods_of(self, namespace: str) -> Iterator[Name]:
        for name in sorted(set(self._wanted.selected(namespace))):
            pod = (namespace, name)
            if pod not in self._too_large or self._is_retried(pod):
                yield pod

    def _is_heavy(self, unit: Unit, series: int) -> bool:
        part = Part(pods=((unit[0], unit[1]),)) if len(unit) == 2 else Part(namespaces=(unit[0],))
        return series * LEAST_BYTES_OF_A_SERIES > self.limit_bytes(part)

    def _found(self, unit: Unit) -> None:
        known = self._too_large.get(unit)
        if known is not None and known.found == self._look:
            return
        wait = FIRST_RETRY_LOOKS if known is None else min(MOST_RETRY_LOOKS, 2 * (known.retry - known.found))
        self._too_large[unit] = _TooLarge(self._look, self._look + wait)

    def _is_retried(self, unit: Unit) -> bool:
        """Whether it is asked for as a whole in this look, and has not failed again."""
        known = self._too_large[unit]
        return known.found < self._look and known.retry <= self._look


def _namespaces(parts: Iterable[Part]) -> set[str]:
    return {name for part in parts for name in part.namespaces}
