"""Who runs next: the places of a work queue, shared so that nobody can take the time of all.

One object (a pod, a ManagedModel) has few places, one namespace a part of them, and a place that is free goes to the
namespaces in turn, inside a namespace to its objects in turn. So a pod that answers nothing delays itself, and a
namespace full of such pods delays itself.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .keys import Key


@dataclass(slots=True)
class _Object:
    """`waiting` with the moment since when each waits."""

    waiting: deque[tuple[Key, float]] = field(default_factory=deque)
    running: int = 0


@dataclass(slots=True)
class _Namespace:
    """`ready`: its objects that wait for something and may have one place more, the next one first."""

    objects: dict[str, _Object] = field(default_factory=dict)
    ready: dict[str, None] = field(default_factory=dict)
    running: int = 0


class Places:
    """Every operation takes the same short time, however much waits."""

    def __init__(self, total: int, per_namespace: int, per_object: int) -> None:
        self._free = total
        self._per_namespace = per_namespace
        self._per_object = per_object
        self._namespaces: dict[str, _Namespace] = {}
        self._ready: dict[str, None] = {}

    def wait(self, key: Key, since: float) -> None:
        """`key` waits from now on. It must neither wait nor run already."""
        namespace = self._namespaces.setdefault(key.namespace, _Namespace())
        namespace.objects.setdefault(key.object_uid, _Object()).waiting.append((key, since))
        self._refresh(key)

    def take(self) -> Key | None:
        """The next one that may run, which then has a place until `give_back`; None for nobody."""
        if self._free <= 0 or not self._ready:
            return None
        name = next(iter(self._ready))
        namespace = self._namespaces[name]
        one = namespace.objects[next(iter(namespace.ready))]
        key, _ = one.waiting.popleft()
        one.running += 1
        namespace.running += 1
        self._free -= 1
        # Behind the others of its kind.
        del namespace.ready[key.object_uid], self._ready[name]
        self._refresh(key)
        return key

    def give_back(self, key: Key) -> None:
        namespace = self._namespaces[key.namespace]
        namespace.objects[key.object_uid].running -= 1
        namespace.running -= 1
        self._free += 1
        self._refresh(key)

    def leave(self, key: Key) -> None:
        """It waits no longer."""
        one = self._namespaces[key.namespace].objects[key.object_uid]
        one.waiting = deque(each for each in one.waiting if each[0] != key)
        self._refresh(key)

    def leave_all(self, like: Key) -> list[Key]:
        """All that waits for the object of `like` waits no longer."""
        namespace = self._namespaces.get(like.namespace)
        one = namespace.objects.get(like.object_uid) if namespace is not None else None
        if one is None:
            return []
        left = [key for key, _ in one.waiting]
        one.waiting.clear()
        self._refresh(like)
        return left

    def waiting_since(self) -> Iterator[tuple[str, float]]:
        """Each namespace in which something waits, and since when the oldest of that does."""
        for name, namespace in self._namespaces.items():
            since = min((each.waiting[0][1] for each in namespace.objects.values() if each.waiting), default=None)
            if since is not None:
                yield name, since

    def _refresh(self, key: Key) -> None:
        """What `key`'s object and namespace may do now; who is ready already keeps the place in the row."""
        namespace = self._namespaces[key.namespace]
        one = namespace.objects[key.object_uid]
        if one.waiting and one.running < self._per_object:
            namespace.ready.setdefault(key.object_uid)
        else:
            namespace.ready.pop(key.object_uid, None)
        if namespace.ready and namespace.running < self._per_namespace:
            self._ready.setdefault(key.namespace)
        else:
            self._ready.pop(key.namespace, None)
        if not one.waiting and not one.running:
            del namespace.objects[key.object_uid]
        if not namespace.objects:
            del self._namespaces[key.namespace]
