"""What we know of the cluster, from watches: ManagedModels, pods, and which of them belong together.

It is a mirror and no truth of its own: thrown away at any moment, the watches fill it again. Changes wake
the reconcile loop through `changed`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .resources import ManagedModel, Name, Pod, managed_model, pod


@dataclass(frozen=True, slots=True)
class Lost:
    """A model of a pod that another ManagedModel manages; `model` None means the whole pod."""

    pod: Pod
    model: str | None
    winner: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What one ManagedModel has of the fleet.

    selected: the living pods that its labels match. held: the models of those pods that are its own to order.
    """

    owner: ManagedModel
    selected: tuple[Pod, ...]
    held: tuple[tuple[Pod, str], ...]
    lost: tuple[Lost, ...]


class Fleet:
    """Filled by `observe_*` with the objects of the watches, in whatever order and however often."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._models: dict[Name, ManagedModel] = {}
        self._pods: dict[Name, Pod] = {}
        # Pods by each of their labels, so that selecting costs the size of the answer and not of the cluster.
        self._by_label: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)

    @property
    def managed_models(self) -> Mapping[Name, ManagedModel]:
        return self._models

    @property
    def pods(self) -> Mapping[Name, Pod]:
        return self._pods

    def observe_managed_model(self, body: Mapping[str, Any], *, deleted: bool = False) -> None:
        seen = managed_model(body)
        known = self._models.get(seen.key)
        if deleted:
            # A late word about an object that has been created again since is about another one.
            if known is not None and known.uid == seen.uid:
                del self._models[seen.key]
                self.changed.set()
            return
        if known is not None and known.uid == seen.uid and known.resource_version > seen.resource_version:
            return
        self._models[seen.key] = seen
        # Our own writes come back as events; only what people change is news.
        if known is None or (known.uid, known.generation) != (seen.uid, seen.generation):
            self.changed.set()

    def observe_pod(self, body: Mapping[str, Any], *, deleted: bool = False) -> None:
        seen = pod(body)
        known = self._pods.get(seen.key)
        if deleted:
            if known is not None and known.uid == seen.uid:
                self._forget_pod(known)
                self.changed.set()
            return
        if known == seen:
            return
        if known is not None:
            self._forget_pod(known)
        self._pods[seen.key] = seen
        for key, value in seen.labels:
            self._by_label[(seen.namespace, key, value)].add(seen.name)
        self.changed.set()

    def select(self, owner: ManagedModel) -> tuple[Pod, ...]:
        """The living pods that carry all its labels, by name."""
        sets = [self._by_label.get((owner.namespace, key, value)) for key, value in owner.selector]
        present = [names for names in sets if names]
        if not present or len(present) < len(sets):
            return ()
        found = set.intersection(*sorted(present, key=len))
        pods = (self._pods[(owner.namespace, name)] for name in sorted(found))
        return tuple(each for each in pods if each.alive)

    def claims(self, models_of: Callable[[Pod], Iterable[str]]) -> Iterator[Claim]:
        """Who manages what. `models_of` says which models a pod is known to have, in no order."""
        selections = [(owner, self.select(owner)) for owner in list(self._models.values())]
        claimants: defaultdict[Name, list[ManagedModel]] = defaultdict(list)
        for owner, selected in selections:
            for each in selected:
                claimants[each.key].append(owner)
        for owner, selected in selections:
            held: list[tuple[Pod, str]] = []
            lost: list[Lost] = []
            for each in selected:
                rivals = claimants[each.key]
                for model in [owner.model] if owner.model else sorted(models_of(each)):
                    winner = _winner(rivals, model) if len(rivals) > 1 else owner
                    if winner is owner:
                        held.append((each, model))
                    else:
                        lost.append(Lost(each, model, winner.name))
                if owner.model is None and len(rivals) > 1:
                    first = min((rival for rival in rivals if rival.model is None), key=_precedence)
                    if first is not owner:
                        lost.append(Lost(each, None, first.name))
            yield Claim(owner, selected, tuple(held), tuple(lost))

    def _forget_pod(self, known: Pod) -> None:
        del self._pods[known.key]
        for key, value in known.labels:
            names = self._by_label[(known.namespace, key, value)]
            names.discard(known.name)
            if not names:
                del self._by_label[(known.namespace, key, value)]


def _winner(rivals: Iterable[ManagedModel], model: str) -> ManagedModel:
    return min((rival for rival in rivals if rival.model in (None, model)), key=_precedence)


def _precedence(owner: ManagedModel) -> tuple[bool, float, str]:
    return owner.precedence
