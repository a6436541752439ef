"""Collections: one kind of object in one place, which is what one list and one watch show.

Each collection has a watch of its own, so that a namespace that refuses us takes nothing away from the others.
"""

from dataclasses import dataclass

from dormouse_contract.managed_model import GROUP, PLURAL, VERSION

from .scope import Scope


@dataclass(frozen=True, slots=True)
class Collection:
    """namespace: empty for the whole cluster. selector: in the API server's syntax, empty for all objects."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    selector: str = ""

    @property
    def path(self) -> str:
        prefix = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{prefix}/namespaces/{self.namespace}/{self.plural}" if self.namespace else f"{prefix}/{self.plural}"

    def __str__(self) -> str:
        return f"{self.plural} in {self.namespace}" if self.namespace else self.plural


def pods(namespace: str = "") -> Collection:
    return Collection("", "v1", "pods", namespace)


def managed_models(namespace: str = "", selector: str = "") -> Collection:
    return Collection(GROUP, VERSION, PLURAL, namespace, selector)


def collections(scope: Scope) -> list[Collection]:
    """Those of the scope, each place's pods before its ManagedModels."""
    return [
        collection
        for namespace in scope.namespaces or ("",)
        for collection in (pods(namespace), managed_models(namespace, scope.selector))
    ]
