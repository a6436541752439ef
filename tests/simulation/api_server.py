"""An API server in memory, as far as the operator uses one: objects, versions, a status subresource, watches.

Each operator has a line of its own to it, which may be slow, cut or refused.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from dormouse_contract.timestamps import to_rfc3339
from dormouse_operator.errors import KubeConflict, KubeNotFound, KubeUnavailable

from .virtual_time import unix_now

MODELS = "/apis/dormouse.dev/v1alpha1/namespaces/{}/managedmodels"
Body = dict[str, Any]
Watcher = Callable[[str, str, Body], None]
"""Type of the event, kind (`managedmodels` or `pods`), and the object."""


@dataclass
class SimApi:
    """`objects` by path. `writes` counts who wrote what, by method and last part of the path."""

    objects: dict[str, Body] = field(default_factory=dict)
    watchers: dict[str, Watcher] = field(default_factory=dict)
    writes: Counter[str] = field(default_factory=Counter)
    # The specs that a ManagedModel has had: (uid, generation) → (spec, since).
    specs: dict[tuple[str, int], tuple[Body, float]] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)
    _version: int = 100
    _uids: int = 0

    def put(self, path: str, body: Body) -> Body:
        """As a user or a kubelet: creates, or replaces spec, labels and status where given."""
        known = self.objects.get(path)
        made = copy.deepcopy(body)
        metadata = made.setdefault("metadata", {})
        parts = path.split("/")
        if known is None:
            self._uids += 1
            metadata |= {
                "uid": metadata.get("uid", f"uid-{self._uids}"),
                "generation": 1,
                "creationTimestamp": to_rfc3339(unix_now()),
                "namespace": parts[-3],
                "name": parts[-1],
            }
        else:
            changed = "spec" in made and made["spec"] != known["spec"]
            generation = known["metadata"]["generation"] + int(changed)
            made = {**known, **made, "metadata": {**known["metadata"], **metadata, "generation": generation}}
        return self._store(path, made, "ADDED" if known is None else "MODIFIED")

    def delete(self, path: str) -> None:
        gone = self.objects.pop(path, None)
        if gone is not None:
            self._version += 1
            gone["metadata"]["resourceVersion"] = str(self._version)
            self.deleted[gone["metadata"]["uid"]] = unix_now()
            self._tell("DELETED", path, gone)

    def of_kind(self, kind: str) -> list[Body]:
        return [body for path, body in sorted(self.objects.items()) if path.split("/")[-2] == kind]

    def status(self, path: str, patch: Mapping[str, Any]) -> Body:
        known = self.objects.get(path)
        if known is None:
            raise KubeNotFound(f"{path} is not found", 404)
        uid = patch.get("metadata", {}).get("uid")
        if uid is not None and uid != known["metadata"]["uid"]:
            raise KubeConflict(f"{path} has another uid", 409)
        merged = {k: v for k, v in {**known.get("status", {}), **patch["status"]}.items() if v is not None}
        if merged == known.get("status"):
            return copy.deepcopy(known)
        return self._store(path, {**known, "status": copy.deepcopy(merged)}, "MODIFIED")

    def create(self, path: str, body: Mapping[str, Any]) -> Body:
        if path in self.objects:
            raise KubeConflict(f"{path} exists", 409)
        return self.put(path, dict(body))

    def replace(self, path: str, body: Mapping[str, Any]) -> Body:
        known = self.objects.get(path)
        if known is None:
            raise KubeNotFound(f"{path} is not found", 404)
        version = body.get("metadata", {}).get("resourceVersion")
        if version is not None and version != known["metadata"]["resourceVersion"]:
            raise KubeConflict(f"{path} was changed", 409)
        return self.put(path, dict(body))

    def _store(self, path: str, body: Body, what: str) -> Body:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = body
        if path.split("/")[-2] == "managedmodels":
            key = (body["metadata"]["uid"], body["metadata"]["generation"])
            self.specs.setdefault(key, (body["spec"], unix_now()))
        self._tell(what, path, body)
        return copy.deepcopy(body)

    def _tell(self, what: str, path: str, body: Body) -> None:
        kind = path.split("/")[-2]
        if kind in ("managedmodels", "pods"):
            for watcher in list(self.watchers.values()):
                watcher(what, kind, copy.deepcopy(body))


@dataclass
class SimKube:
    """One operator's line, with `request` as in `Kube`. `down`: nothing gets through; `hangs`: nor comes an answer."""

    api: SimApi
    who: str
    rng: Random
    down: bool = False
    hangs: bool = False
    refused: float = 0.0

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str | int] | None = None,
        **_: Any,
    ) -> Body:
        await asyncio.sleep(self.rng.uniform(0.002, 0.05))
        if self.hangs:
            await asyncio.sleep(15)
            raise KubeUnavailable(f"{method} {path}: no answer within 15 s", 0)
        if self.down:
            raise KubeUnavailable(f"{method} {path}: refused", 0)
        if self.rng.random() < self.refused:
            raise KubeUnavailable(f"{method} {path}: HTTP 429", 429)
        answer = self._do(method, path, json.loads(json.dumps(body or {})), content_type)
        if method != "GET":
            self.api.writes[f"{self.who} {method} {path.split('/')[-1 if method == 'POST' else -2]}"] += 1
            if self.rng.random() < self.refused:  # it was done, and the word of it is lost
                raise KubeUnavailable(f"{method} {path}: the connection broke", 0)
        return answer

    def _do(self, method: str, path: str, body: Mapping[str, Any], content_type: str) -> Body:
        if method == "GET":
            if path.split("/")[-1] in ("managedmodels", "pods"):
                items = self.api.of_kind(path.split("/")[-1])
                return {"items": copy.deepcopy(items), "metadata": {"resourceVersion": "1"}}
            found = self.api.objects.get(path)
            if found is None:
                raise KubeNotFound(f"{path} is not found", 404)
            return copy.deepcopy(found)
        if method == "POST":
            return self.api.create(f"{path}/{body['metadata']['name']}", body)
        if method == "PUT":
            return self.api.replace(path, body)
        if path.endswith("/status"):
            return self.api.status(path.removesuffix("/status"), body)
        return self.api.put(path, dict(body))
