"""Notices that another operator acts on the same ManagedModels: two installations, each for the whole cluster.

Whoever writes a status is named in the object's `managedFields`. Operators with namespaces or selectors of their own
never write the same object, but for a moment when its labels change. So one that writes an object which has been ours
for a while, and still does, is a rival. Orders are guarded, so nothing breaks; but calls are made twice.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

OPERATOR = "dormouse-operator"
# An object that was given to us by its labels may have a write of its former operator under way.
GRACE_SECONDS = 60.0
# A rival that has not written for so long is gone.
REMEMBERED_SECONDS = 3600.0
LOG_SECONDS = 3600.0
# Who may write a status may also write names into it that are none.
MOST_RIVALS = 8
_NAME = re.compile(rf"{OPERATOR}\.[a-z0-9.-]{{1,110}}")
log = logging.getLogger(__name__)


def field_manager(namespace: str, lease: str) -> str:
    """What this installation is called in `managedFields`. Its replicas have the same name; shards do not."""
    return ".".join(filter(None, (OPERATOR, namespace, lease)))[:128]


class Rivals:
    """`own` is our name among the field managers."""

    def __init__(self, own: str, *, monotonic: Callable[[], float]) -> None:
        self._own = own
        self._monotonic = monotonic
        # Only of objects that another operator ever wrote: since when that is known, and when it did, by its name.
        self._writes: dict[str, tuple[float, dict[str, str]]] = {}
        self._rivals: dict[str, dict[str, float]] = {}
        self._logged_at: dict[str, float] = {}

    def observe(self, body: Mapping[str, Any]) -> None:
        """A ManagedModel as the watch shows it."""
        metadata = body["metadata"]
        writes = {
            name: str(entry.get("time", ""))
            for entry in metadata.get("managedFields") or ()
            if entry.get("subresource") == "status"
            and (name := str(entry.get("manager", ""))) != self._own
            and _NAME.fullmatch(name)
        }
        if not writes:
            return
        now = self._monotonic()
        since, before = self._writes.setdefault(metadata["uid"], (now, writes))
        self._writes[metadata["uid"]] = since, writes
        if now - since < GRACE_SECONDS:
            return
        for name, at in writes.items():
            if before.get(name) != at:
                self._wrote(name, metadata, now)

    def forget(self, uid: str) -> None:
        self._writes.pop(uid, None)

    def shared(self) -> Mapping[tuple[str, ...], float]:
        """By rival, how many of our ManagedModels it wrote lately."""
        self._drop_the_old()
        return {(name.removeprefix(f"{OPERATOR}."),): float(len(objects)) for name, objects in self._rivals.items()}

    def _wrote(self, name: str, metadata: Mapping[str, Any], now: float) -> None:
        self._drop_the_old()
        if name not in self._rivals and len(self._rivals) >= MOST_RIVALS:
            return
        self._rivals.setdefault(name, {})[metadata["uid"]] = now
        if now - self._logged_at.get(name, float("-inf")) >= LOG_SECONDS:
            self._logged_at[name] = now
            log.warning(
                "Another operator, %s, manages %s/%s too, so its replicas get each order twice. Nothing is undone by "
                "it. Uninstall one of the two, or give each its own --namespaces or --managed-model-selector.",
                name.removeprefix(f"{OPERATOR}."),
                metadata.get("namespace"),
                metadata.get("name"),
            )

    def _drop_the_old(self) -> None:
        oldest = self._monotonic() - REMEMBERED_SECONDS
        for name, objects in list(self._rivals.items()):
            self._rivals[name] = {uid: at for uid, at in objects.items() if at > oldest}
            if not self._rivals[name]:
                del self._rivals[name]
                self._logged_at.pop(name, None)
