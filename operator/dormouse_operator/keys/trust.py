"""Publishes the operator's certificate where its pods are, as the ConfigMap that sidecars mount.

One data key per operator instance (its namespace is its name), written by server-side apply, so that two
operators in one cluster don't take each other's key away; during a rotation it holds two certificates. What
is published stays when the operator goes: it is public, and a sidecar that trusts a key that nobody uses any
more is as safe as before.
"""

import asyncio
import logging
from collections.abc import Iterable

from ..cluster.kube import APPLY_PATCH, Kube
from ..errors import KubeError, KubeNotFound

CONFIG_MAP_NAME = "dormouse-operator-trust"
log = logging.getLogger(__name__)


class TrustPublisher:
    """Level-based: `publish` looks at every namespace and writes only where something is missing or wrong.

    Until `want` says what to publish, nothing is.
    """

    def __init__(self, kube: Kube, operator_namespace: str) -> None:
        self._kube = kube
        self._field = f"{operator_namespace}.crt"
        self._manager = f"dormouse-operator-{operator_namespace}"
        self._certificates = ""
        self._published: set[str] = set()
        # They said no, rather than nothing: terminating, or no right to write there.
        self._refusing: set[str] = set()

    def want(self, certificates: str) -> bool:
        """The leaves that sidecars are to trust, as PEM. Whether that is a change, to be published at once."""
        if certificates == self._certificates:
            return False
        self._certificates = certificates
        self._published.clear()
        self._refusing.clear()
        return True

    def unpublished(self, namespaces: Iterable[str]) -> set[str]:
        """Those where it was never written by us: they should not wait for the next look."""
        return set(namespaces) - self._published if self._certificates else set()

    def is_everywhere(self, namespaces: Iterable[str]) -> bool:
        """Whether there is nowhere left to bring it; a namespace that refuses it can't hold up the others."""
        return not self.unpublished(namespaces) - self._refusing

    async def publish(self, namespaces: Iterable[str]) -> None:
        """Side by side: one that refuses (it may be terminating) or hangs does not keep the others waiting."""
        if self._certificates:
            await asyncio.gather(*(self._try(namespace) for namespace in sorted(namespaces)))

    async def _try(self, namespace: str) -> None:
        try:
            await self._ensure(namespace)
        except KubeError as error:
            if not error.retryable:
                self._refusing.add(namespace)
            log.warning("The trust of %s is not published, so sidecars there take no orders yet: %s", namespace, error)

    async def _ensure(self, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP_NAME}"
        certificates = self._certificates
        try:
            current = (await self._kube.request("GET", path)).get("data") or {}
        except KubeNotFound:
            current = {}
        if current.get(self._field) != certificates:
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": CONFIG_MAP_NAME,
                    "namespace": namespace,
                    "labels": {"app.kubernetes.io/part-of": "dormouse"},
                },
                "data": {self._field: certificates},
            }
            query = {"fieldManager": self._manager, "force": "true"}
            await self._kube.request("PATCH", path, body, content_type=APPLY_PATCH, query=query)
            log.info("Published the operator's certificate in %s", namespace)
        # What is wanted may have changed meanwhile.
        if certificates == self._certificates:
            self._published.add(namespace)
