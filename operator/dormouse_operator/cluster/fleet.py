"""What we know of the cluster, from watches: ManagedModels, pods, and which of them belong together.

It is a mirror and no truth of its own: thrown away at any moment, the watches fill it again. Changes wake
the reconcile loop through `changed`, and `take_touched` says whom they concern, so that a pass costs the
size of what happened and not of the fleet.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_contract.managed_model import ManagedModel, Name, managed_model

from .pods import Pod, pod


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
        # The other way round: ManagedModels by the first label of their selector.
        self._by_selector: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._touched: set[Name] = set()

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
                self.forget_managed_model(known)
            return
        if known is not None and known.uid == seen.uid and known.resource_version > seen.resource_version:
            return
        same = known is not None and (known.uid, known.generation) == (seen.uid, seen.generation)
        if same:
            self._models[seen.key] = seen
            # Our own writes come back as events; only what people change is news. A status that somebody
            # else wrote is put right in time, and wakes nobody.
            if known is not None and known.status != seen.status:
                self._touched.add(seen.key)
            return
        if known is not None:
            self._forget_managed_model(known)
        self._models[seen.key] = seen
        # A selector that is not understood is empty, and selects nothing.
        for label in seen.selector[:1]:
            self._by_selector[(seen.namespace, *label)].add(seen.name)
        self._touch_rivals(seen)
        self.changed.set()

    def observe_pod(self, body: Mapping[str, Any], *, deleted: bool = False) -> None:
        seen = pod(body)
        known = self._pods.get(seen.key)
        if deleted:
            if known is not None and known.uid == seen.uid:
                self.forget_pod(known)
            return
        if known == seen:
            return
        if known is not None:
            self._forget_pod(known)
        self._pods[seen.key] = seen
        for key, value in seen.labels:
            self._by_label[(seen.namespace, key, value)].add(seen.name)
        self._touched.update(owner.key for owner in self.owners_of(seen))
        self.changed.set()

    def forget_managed_model(self, gone: ManagedModel) -> None:
        """It was deleted, whoever says so."""
        self._forget_managed_model(gone)
        self.changed.set()

    def forget_pod(self, gone: Pod) -> None:
        self._forget_pod(gone)
        self.changed.set()

    def touch(self, pod: Pod) -> None:
        """Something else is known of this pod than before: whoever selects it is looked at again."""
        self._touched.update(owner.key for owner in self.owners_of(pod))
        self.changed.set()

    def touch_namespace(self, namespace: str) -> None:
        """Something else is known of this namespace than before: all its ManagedModels are looked at again."""
        self._touched.update(key for key in self._models if key[0] == namespace)
        self.changed.set()

    def take_touched(self) -> set[Name]:
        """The ManagedModels that something happened to since the last call, deleted ones included."""
        touched, self._touched = self._touched, set()
        return touched

    def owners_of(self, pod: Pod) -> list[ManagedModel]:
        """The ManagedModels whose selector matches, whether or not the pod is alive."""
        labels = set(pod.labels)
        return [
            owner
            for label in pod.labels
            for name in self._by_selector.get((pod.namespace, *label), ())
            if labels.issuperset((owner := self._models[(pod.namespace, name)]).selector)
        ]

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
        """Who manages what, for all of them."""
        return (self.claim(owner, models_of) for owner in list(self._models.values()))

    def claim(self, owner: ManagedModel, models_of: Callable[[Pod], Iterable[str]]) -> Claim:
        """What `owner` manages. `models_of` says which models a pod is known to have, in no order."""
        selected = self.select(owner)
        held: list[tuple[Pod, str]] = []
        lost: list[Lost] = []
        for each in selected:
            rivals = self.owners_of(each)
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
        return Claim(owner, selected, tuple(held), tuple(lost))

    def _forget_managed_model(self, known: ManagedModel) -> None:
        self._touch_rivals(known)
        del self._models[known.key]
        for label in ((known.namespace, *pair) for pair in known.selector[:1]):
            self._by_selector[label].discard(known.name)
            if not self._by_selector[label]:
                del self._by_selector[label]

    def _touch_rivals(self, owner: ManagedModel) -> None:
        """Its own coming or going may give a model to another, or take it away."""
        self._touched.add(owner.key)
        for each in self.select(owner):
            self._touched.update(rival.key for rival in self.owners_of(each))

    def _forget_pod(self, known: Pod) -> None:
        self._touched.update(owner.key for owner in self.owners_of(known))
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
