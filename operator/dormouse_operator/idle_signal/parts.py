"""What is asked of Prometheus at once: whole namespaces, or some of their pods by name. Pure.

A part that is too much for one answer is asked in halves, down to one namespace and then to one pod of it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from dormouse_contract.managed_model import Name
from dormouse_contract.promql.selection import equals, one_of

# 25,000 series in 70 ms and 40 MB; what is more goes into several answers.
MOST_BYTES = 8 << 20
# A series is 300 to 400 bytes of an answer, and a pod has hardly more than 64 models. Labels may be many.
BYTES_OF_ANY_PART, BYTES_OF_A_POD = 256 << 10, 32 << 10
# No series is shorter, in an answer.
LEAST_BYTES_OF_A_SERIES = 150
# A proxy may refuse a body of more than 1 MiB, and each character is up to three there.
MOST_CHARACTERS = 64_000
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Part:
    """Either `namespaces`, or `pods` of namespaces that are too large as a whole."""

    namespaces: tuple[str, ...] = ()
    pods: tuple[Name, ...] = ()

    @property
    def units(self) -> tuple[tuple[str, ...], ...]:
        """What it is about, as `IdleSignal.unread` names it."""
        return self.pods or tuple((namespace,) for namespace in self.namespaces)

    def query(self, about: Callable[..., str], selector: Sequence[str]) -> str:
        """`about` makes a query of matchers. Pods of several namespaces are a union: names alone may be the same."""
        return " or ".join(about(*matchers, *selector) for matchers in self._matchers())

    @property
    def labels(self) -> tuple[str, ...]:
        """Whose values name one of its units."""
        return ("namespace", "pod") if self.pods else ("namespace",)

    def without(self, units: Collection[tuple[str, ...]]) -> "Part":
        namespaces = (name for name in self.namespaces if (name,) not in units)
        return Part(tuple(namespaces), tuple(pod for pod in self.pods if pod not in units))

    def halves(self) -> tuple["Part", ...]:
        """Empty for a single namespace or pod."""
        return (
            *(Part(namespaces=each) for each in _halves(self.namespaces)),
            *(Part(pods=each) for each in _halves(self.pods)),
        )

    def limit_bytes(self, pods_in: Mapping[str, int]) -> int:
        """Its fair share, so that a flood is found after few bytes. pods_in: how many pods a namespace has."""
        pods = len(self.pods) or sum(pods_in.get(namespace, 0) for namespace in self.namespaces)
        return min(MOST_BYTES, BYTES_OF_ANY_PART + pods * BYTES_OF_A_POD)

    def _matchers(self) -> Iterator[tuple[str, ...]]:
        if self.namespaces:
            yield (one_of("namespace", self.namespaces),)
        for namespace, pods in groupby(self.pods, key=lambda pod: pod[0]):
            yield (equals("namespace", namespace), one_of("pod", [name for _, name in pods]))


def of_namespaces(names: Iterable[str], pods_in: Mapping[str, int], most_pods: int) -> Iterator[Part]:
    """As few parts as their queries' lengths and `most_pods` allow."""
    sizes = ((name, len(name), pods_in.get(name, 0)) for name in names)
    return (Part(namespaces=batch) for batch in _batches(sizes, most_pods))


def of_pods(pods: Iterable[Name]) -> Iterator[Part]:
    sizes = ((pod, len(pod[0]) + len(pod[1]), 0) for pod in pods)
    return (Part(pods=batch) for batch in _batches(sizes, 0))


def _batches(items: Iterable[tuple[_Item, int, int]], most_pods: int) -> Iterator[tuple[_Item, ...]]:
    """`items` come with the characters that each adds to a query, and its pods."""
    batch: list[_Item] = []
    length = pods = 0
    for item, characters, has in items:
        length, pods = length + characters + 1, pods + has
        if batch and (length > MOST_CHARACTERS or pods > most_pods):
            yield tuple(batch)
            batch, length, pods = [], characters + 1, has
        batch.append(item)
    if batch:
        yield tuple(batch)


def _halves(items: tuple[_Item, ...]) -> tuple[tuple[_Item, ...], ...]:
    middle = len(items) // 2
    return (items[:middle], items[middle:]) if middle else ()
