"""The one Secret of the operator, in its own namespace: mounted nowhere and readable by nobody else.

Every write names the version that it was decided on, so of two operators that act at once only one comes
through, and the other reads again.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from ..cluster.kube import Kube
from ..errors import KubeNotFound
from .keyring import Keyring

SECRET_NAME = "dormouse-operator-key"  # noqa: S105 - a name, not a secret
# Put on the Secret by a person, with any value, to have a new key before its time; gone when it is being made.
ROTATE_ANNOTATION = "dormouse.dev/rotate"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was read. `metadata` is None when there is no such Secret."""

    keyring: Keyring = field(default_factory=Keyring)
    metadata: dict[str, Any] | None = None

    @property
    def rotation_wanted(self) -> bool:
        return ROTATE_ANNOTATION in ((self.metadata or {}).get("annotations") or {})


class KeyStore:
    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        self.namespace = namespace

    async def read(self) -> Stored:
        """Raises KubeError, for example when the namespace or the right to read is missing."""
        try:
            body = await self._kube.request("GET", f"{self._path}/{SECRET_NAME}")
        except KubeNotFound:
            return Stored()
        return Stored(Keyring.from_data(_decoded(body.get("data") or {})), body["metadata"])

    async def write(self, before: Stored, keyring: Keyring, *, answered: bool) -> None:
        """`answered`: the person's wish for a new key is fulfilled by this. Raises KubeConflict, KubeError."""
        metadata: dict[str, Any] = {"name": SECRET_NAME, "labels": {"app.kubernetes.io/part-of": "dormouse"}}
        if before.metadata is not None:
            known = before.metadata
            annotations = dict(known.get("annotations") or {})
            if answered:
                annotations.pop(ROTATE_ANNOTATION, None)
            metadata["labels"] = {**(known.get("labels") or {}), **metadata["labels"]}
            metadata |= {"annotations": annotations, "resourceVersion": known["resourceVersion"], "uid": known["uid"]}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {name: base64.b64encode(value).decode() for name, value in keyring.to_data().items()},
        }
        if before.metadata is None:
            await self._kube.request("POST", self._path, body)
        else:
            await self._kube.request("PUT", f"{self._path}/{SECRET_NAME}", body)


def _decoded(data: dict[str, str]) -> dict[str, bytes]:
    decoded: dict[str, bytes] = {}
    for name, text in data.items():
        try:
            decoded[name] = base64.b64decode(text)
        except binascii.Error:
            continue
    return decoded
