"""Which ManagedModels and pods there are, asked of the API server as cheaply as it can be asked.

The watches tell what is there. What they can't tell is when that was all, and what went away while they were
cut off; for both the API server is asked directly, without the bodies of the objects.
"""

from collections.abc import AsyncIterator
from typing import Any

from dormouse_contract.managed_model import GROUP, PLURAL, VERSION

from ..errors import KubeError, SettingsError
from .kube import Kube
from .scope import Scope

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 500


class Census:
    """Every method that asks for objects raises KubeError when the API server doesn't answer or refuses."""

    def __init__(self, kube: Kube, scope: Scope) -> None:
        self._kube = kube
        self._managed_models = _paths(f"/apis/{GROUP}/{VERSION}", PLURAL, scope.namespaces)
        self._pods = _paths("/api/v1", "pods", scope.namespaces)
        self._selector = scope.selector

    async def check_selector(self) -> None:
        """Raises SettingsError when the API server can't read the selector. What else it says comes up later."""
        if not self._selector:
            return
        try:
            query: dict[str, str | int] = {"limit": 1, "labelSelector": self._selector}
            await self._kube.request("GET", self._managed_models[0], query=query, accept=METADATA_ONLY)
        except KubeError as error:
            if error.status == 400:
                raise SettingsError(
                    f"--managed-model-selector is {self._selector!r}, which the API server can't read ({error}); "
                    "write it as for kubectl get --selector, for example team=speech"
                ) from error

    async def count_managed_models(self) -> int:
        return await self._count(self._managed_models, self._selector)

    async def count_pods(self) -> int:
        return await self._count(self._pods, "")

    async def managed_model_uids(self) -> set[str]:
        return await self._uids(self._managed_models, self._selector)

    async def pod_uids(self) -> set[str]:
        return await self._uids(self._pods, "")

    async def _count(self, paths: list[str], selector: str) -> int:
        if selector:
            # With a selector the API server doesn't say how many more there are.
            return len(await self._uids(paths, selector))
        total = 0
        for path in paths:
            page = await self._kube.request("GET", path, query={"limit": 1}, accept=METADATA_ONLY)
            total += len(page.get("items") or ()) + int(page.get("metadata", {}).get("remainingItemCount") or 0)
        return total

    async def _uids(self, paths: list[str], selector: str) -> set[str]:
        return {item["metadata"]["uid"] for path in paths async for item in self._items(path, selector)}

    async def _items(self, path: str, selector: str) -> AsyncIterator[dict[str, Any]]:
        query: dict[str, str | int] = {"limit": PAGE} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._kube.request("GET", path, query=query, accept=METADATA_ONLY)
            for item in page.get("items") or ():
                yield item
            following = page.get("metadata", {}).get("continue")
            if not following:
                return
            query["continue"] = following


def _paths(prefix: str, plural: str, namespaces: tuple[str, ...]) -> list[str]:
    return [f"{prefix}/namespaces/{name}/{plural}" for name in namespaces] or [f"{prefix}/{plural}"]
