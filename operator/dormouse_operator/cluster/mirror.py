"""The part of the fleet that one collection fills."""

from collections.abc import Iterable, Mapping
from typing import Any

from dormouse_contract.managed_model import PLURAL, ManagedModel

from .collection import Collection
from .fleet import Fleet
from .pods import Pod
from .rivals import Rivals


class Mirror:
    """Objects come from its watch by `observe`, and go by that or by `forget`."""

    def __init__(self, fleet: Fleet, collection: Collection, rivals: Rivals | None = None) -> None:
        self.collection = collection
        self._fleet = fleet
        self._rivals = rivals

    def uids(self) -> set[str]:
        return {each.uid for each in self._objects()}

    def observe(self, body: Mapping[str, Any], deleted: bool) -> None:
        if self.collection.plural == PLURAL:
            self._fleet.observe_managed_model(body, deleted=deleted)
            if self._rivals is not None:
                self._notice_rivals(self._rivals, body, deleted)
        else:
            self._fleet.observe_pod(body, deleted=deleted)

    def forget(self, uids: set[str]) -> int:
        """How many there were. One that was created again under the same name has another UID, and stays."""
        gone = [each for each in self._objects() if each.uid in uids]
        for each in gone:
            if isinstance(each, ManagedModel):
                if self._rivals is not None:
                    self._rivals.forget(each.uid)
                self._fleet.forget_managed_model(each)
            else:
                self._fleet.forget_pod(each)
        return len(gone)

    def forget_all(self) -> None:
        self.forget(self.uids())

    @staticmethod
    def _notice_rivals(rivals: Rivals, body: Mapping[str, Any], deleted: bool) -> None:
        if deleted:
            rivals.forget(body["metadata"]["uid"])
        else:
            rivals.observe(body)

    def _objects(self) -> Iterable[ManagedModel | Pod]:
        namespace = self.collection.namespace
        known: Mapping[Any, ManagedModel] | Mapping[Any, Pod]
        known = self._fleet.managed_models if self.collection.plural == PLURAL else self._fleet.pods
        return [each for each in known.values() if namespace in ("", each.namespace)]
