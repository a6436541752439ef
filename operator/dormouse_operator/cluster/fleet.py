"""What we know of the cluster, from watches: ManagedModels, pods, and which of them belong together.

It is a mirror and no truth of its own: thrown away at any moment, the watches fill it again. Changes wake
the reconcile loop through `changed`, and `take_touched` says whom they concern, so that a pass costs the
size of what happened and not of the fleet.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from dormouse_contract.managed_model import Labels, ManagedModel, Name, managed_model, version_of

from .managers import Claim, Managers, claim, found_managers
from .pods import Pod, pod

# So many pairs of a changed pod and a ManagedModel are compared; with more, the whole namespace counts as touched.
PAIRS_COMPARED = 5000


class Fleet:
    """Filled by `observe_*` with the objects of the watches, in whatever order and however often."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._models: dict[Name, ManagedModel] = {}
        self._pods: dict[Name, Pod] = {}
        # Pods by each of their labels, so that selecting costs the size of the answer and not of the cluster.
        self._by_label: defaultdict[_Label, set[str]] = defaultdict(set)
        # The other way round: ManagedModels by the first label of their selector.
        self._by_selector: defaultdict[_Label, set[str]] = defaultdict(set)
        self._by_namespace: defaultdict[str, set[str]] = defaultdict(set)
        # Grows whenever the same pod may be managed by another.
        self._versions: defaultdict[str, int] = defaultdict(int)
        self._managers: dict[Name, Managers] = {}
        # What happened, as it came: whom it concerns is found when somebody asks, once for all of it.
        self._touched: set[Name] = set()
        self._touched_labels: set[tuple[str, Labels]] = set()
        self._touched_selectors: set[tuple[str, Labels]] = set()

    @property
    def managed_models(self) -> Mapping[Name, ManagedModel]:
        return self._models

    @property
    def pods(self) -> Mapping[Name, Pod]:
        return self._pods

    @property
    def namespaces(self) -> Collection[str]:
        """Those that have ManagedModels."""
        return self._by_namespace.keys()

    def observe_managed_model(self, body: Mapping[str, Any], *, deleted: bool = False, ours: bool = False) -> None:
        """`ours`: it is the answer to a status that we wrote ourselves, which is no news."""
        metadata = body["metadata"]
        known = self._models.get((metadata["namespace"], metadata["name"]))
        if ours and known is None:
            # It was deleted while we wrote.
            return
        if not deleted and known is not None and _is_late(metadata, known):
            return
        seen = managed_model(body)
        if deleted:
            # A late word about an object that has been created again since is about another one.
            if known is not None and known.uid == seen.uid:
                self.forget_managed_model(known)
            return
        if known is not None and (known.uid, known.generation) == (seen.uid, seen.generation):
            self._models[seen.key] = seen
            # Our own writes come back as events; only what people change is news. A status that somebody
            # else wrote is put right in time, and wakes nobody.
            if known.status != seen.status and not ours:
                self._touched.add(seen.key)
            return
        if known is not None:
            self._forget_managed_model(known)
        self._models[seen.key] = seen
        self._by_namespace[seen.namespace].add(seen.name)
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
        self.touch(seen)

    def forget_managed_model(self, gone: ManagedModel) -> None:
        """It was deleted, whoever says so."""
        self._forget_managed_model(gone)
        self.changed.set()

    def forget_pod(self, gone: Pod) -> None:
        self._forget_pod(gone)
        self.changed.set()

    def touch(self, pod: Pod) -> None:
        """Something else is known of this pod than before: whoever selects it is looked at again."""
        self._touched_labels.add((pod.namespace, pod.labels))
        self.changed.set()

    def touch_namespace(self, namespace: str) -> None:
        """Something else is known of this namespace than before: all its ManagedModels are looked at again."""
        self._touched.update((namespace, name) for name in self._by_namespace.get(namespace, ()))
        self.changed.set()

    def take_touched(self) -> set[Name]:
        """The ManagedModels that something happened to since the last call, deleted ones included.

        Where very much happened in a namespace, these are all that it has: to find out whom it concerns is dearer.
        """
        touched, self._touched = self._touched, set()
        by_namespace: defaultdict[str, set[Labels]] = defaultdict(set)
        for namespace, labels in self._touched_labels:
            by_namespace[namespace].add(labels)
        for namespace, selector in self._touched_selectors:
            names = self._matching(namespace, selector)
            by_namespace[namespace].update(self._pods[(namespace, name)].labels for name in names)
        self._touched_labels, self._touched_selectors = set(), set()
        for namespace, sets in by_namespace.items():
            pairs = sum(len(self._by_selector.get((namespace, *label), ())) for labels in sets for label in labels)
            if pairs > PAIRS_COMPARED:
                touched.update((namespace, name) for name in self._by_namespace.get(namespace, ()))
            else:
                touched.update(owner.key for labels in sets for owner in self._owners(namespace, labels))
        return touched

    def owners_of(self, pod: Pod) -> list[ManagedModel]:
        """The ManagedModels whose selector matches, whether or not the pod is alive."""
        return self._owners(pod.namespace, pod.labels)

    def select(self, owner: ManagedModel) -> tuple[Pod, ...]:
        """The living pods that carry all its labels, by name."""
        pods = (self._pods[(owner.namespace, name)] for name in sorted(self._matching(owner.namespace, owner.selector)))
        return tuple(each for each in pods if each.alive)

    def managers_of(self, pod: Pod) -> Managers:
        """Who manages the models of this pod. Remembered, since each of its ManagedModels asks."""
        known = self._managers.get(pod.key)
        version = self._versions[pod.namespace]
        if known is None or known.version != version:
            known = self._managers[pod.key] = found_managers(version, self.owners_of(pod))
        return known

    def claims(self, owner: ManagedModel, models_of: Callable[[Pod], Iterable[str]]) -> Iterator[Claim]:
        """What `owner` has of each living pod that it selects; one step is short, whatever there is.

        `models_of` says which models a pod is known to have, in no order.
        """
        for each in self.select(owner):
            models = (owner.model,) if owner.model else sorted(models_of(each))
            yield claim(owner, each, self.managers_of(each), models)

    def _owners(self, namespace: str, labels: Labels) -> list[ManagedModel]:
        carried = set(labels)
        return [
            owner
            for label in labels
            for name in self._by_selector.get((namespace, *label), ())
            if carried.issuperset((owner := self._models[(namespace, name)]).selector)
        ]

    def _matching(self, namespace: str, selector: Labels) -> set[str]:
        sets = [self._by_label.get((namespace, key, value)) for key, value in selector]
        present = [names for names in sets if names]
        if not present or len(present) < len(sets):
            return set()
        return set.intersection(*sorted(present, key=len))

    def _forget_managed_model(self, known: ManagedModel) -> None:
        self._touch_rivals(known)
        del self._models[known.key]
        _discard(self._by_namespace, known.namespace, known.name)
        for label in ((known.namespace, *pair) for pair in known.selector[:1]):
            _discard(self._by_selector, label, known.name)

    def _touch_rivals(self, owner: ManagedModel) -> None:
        """Its own coming or going may give a model to another, or take it away."""
        self._versions[owner.namespace] += 1
        self._touched.add(owner.key)
        self._touched_selectors.add((owner.namespace, owner.selector))

    def _forget_pod(self, known: Pod) -> None:
        self._touched_labels.add((known.namespace, known.labels))
        del self._pods[known.key]
        self._managers.pop(known.key, None)
        for key, value in known.labels:
            _discard(self._by_label, (known.namespace, key, value), known.name)


def _is_late(metadata: Mapping[str, Any], known: ManagedModel) -> bool:
    """What we wrote comes back by the watch, and what is late is old, also about an earlier object of the same name."""
    version = version_of(metadata)
    if known.uid != metadata.get("uid"):
        return known.resource_version > version > 0
    return known.resource_version >= version > 0


_Label = tuple[str, str, str]
"""Namespace, key and value."""
_Key = TypeVar("_Key")


def _discard(index: dict[_Key, set[str]], key: _Key, name: str) -> None:
    names = index[key]
    names.discard(name)
    if not names:
        del index[key]
