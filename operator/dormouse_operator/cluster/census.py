"""Which objects a collection has, asked of the API server as cheaply as it can be asked.

The watches tell what is there. What they can't tell is whether the API server would show it at all, and what went
away while they were cut off; for both the API server is asked directly, without the bodies of the objects.
"""

from collections.abc import AsyncIterator
from typing import Any

from ..errors import KubeError, SettingsError
from .collection import Collection
from .kube import Kube

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 500


class Census:
    """Every method raises KubeError when the API server doesn't answer or refuses."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def look(self, collection: Collection) -> int:
        """How many objects there are at least; where a selector is given, at most one is counted."""
        page = await self._page(collection, {"limit": 1})
        return len(page.get("items") or ()) + int(page.get("metadata", {}).get("remainingItemCount") or 0)

    async def count(self, collection: Collection) -> int:
        # With a selector the API server doesn't say how many more there are.
        return len(await self.uids(collection)) if collection.selector else await self.look(collection)

    async def uids(self, collection: Collection) -> set[str]:
        return {item["metadata"]["uid"] async for item in self._items(collection)}

    async def _items(self, collection: Collection) -> AsyncIterator[dict[str, Any]]:
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = await self._page(collection, query)
            for item in page.get("items") or ():
                yield item
            following = page.get("metadata", {}).get("continue")
            if not following:
                return
            query["continue"] = following

    async def _page(self, collection: Collection, query: dict[str, str | int]) -> dict[str, Any]:
        selected = query | ({"labelSelector": collection.selector} if collection.selector else {})
        return await self._kube.request("GET", collection.path, query=selected, accept=METADATA_ONLY)


async def check_selector(census: Census, collection: Collection) -> None:
    """Raises SettingsError when the API server can't read the selector. What else it says comes up later."""
    if not collection.selector:
        return
    try:
        await census.look(collection)
    except KubeError as error:
        if error.status == 400:
            raise SettingsError(
                f"--managed-model-selector is {collection.selector!r}, which the API server can't read ({error}); "
                "write it as for kubectl get --selector, for example team=speech"
            ) from error
