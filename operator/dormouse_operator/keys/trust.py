"""Publishes the operator's certificate where its pods are, as the ConfigMap that sidecars mount.

One data key per operator instance (its namespace is its name), written by server-side apply, so that two
operators in one cluster don't take each other's key away; during a rotation it holds two certificates. What
is published stays when the operator goes: it is public, and a sidecar that trusts a key that nobody uses any
more is as safe as before.

Who may write ConfigMaps in a namespace can keep the certificate out of it: by one that is immutable or full, by a
quota or a policy. That is a matter of that namespace alone: it is tried again later and later, and nobody waits.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Set
from functools import partial

from dormouse_contract.printable import printable

from ..cluster.kube import APPLY_PATCH, Kube
from ..errors import KubeError, KubeNotFound, NotLeading
from ..workqueue.keys import PublishTrust
from ..workqueue.queue import WorkQueue
from ..workqueue.result import Done, RequeueAfter, Result, Retry

CONFIG_MAP_NAME = "dormouse-operator-trust"
# How often the published trust is looked at where it was published already.
CHECK_SECONDS = 60.0
# After so many tries in a row without an answer it is trouble of the namespace. A refusal is one at once.
TRIES = 3
LOG_SECONDS = 60.0
MOST_WORDS = 300
log = logging.getLogger(__name__)


class TrustPublisher:
    """Level-based: `keep` starts a look at each namespace that is due, and writes where something is missing or wrong.

    Until `want` says what to publish, nothing is.
    """

    def __init__(
        self,
        kube: Kube,
        operator_namespace: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        on_news: Callable[[str], None] = lambda namespace: None,
    ) -> None:
        """`on_news` gets a namespace of which `problem` says something else than before."""
        self._kube = kube
        self._field = f"{operator_namespace}.crt"
        self._manager = f"dormouse-operator-{operator_namespace}"
        self._monotonic = monotonic
        self._on_news = on_news
        self._certificates = ""
        self._published: set[str] = set()
        # By how many tries in a row; what is shown of them stays until it is published.
        self._failures: dict[str, int] = {}
        self._problems: dict[str, str] = {}
        self._logged_at: dict[str, float] = {}
        self.queue = WorkQueue(concurrency=16, monotonic=monotonic)

    def want(self, certificates: str) -> bool:
        """The leaves that sidecars are to trust, as PEM. Whether that is a change, to be published at once."""
        if certificates == self._certificates:
            return False
        self._certificates = certificates
        self._published.clear()
        self._failures.clear()
        return True

    def keep(self, namespaces: Set[str]) -> None:
        """Sees to it that all of these have it, and forgets the others. Waits for nothing."""
        self._forget_all_but(namespaces)
        if self._certificates:
            for namespace in namespaces:
                self.queue.add(PublishTrust(namespace), self._certificates, partial(self._look, namespace))

    def problem(self, namespace: str) -> str:
        """Why it can't be published there, in the API server's words; empty when it is, or was not tried yet."""
        return self._problems.get(namespace, "")

    def problems(self) -> Collection[str]:
        """The namespaces that have one."""
        return self._problems.keys()

    def is_everywhere(self, namespaces: Iterable[str]) -> bool:
        """Whether there is nowhere left to bring it; a namespace that keeps it out can't hold up the others."""
        if not self._certificates:
            return True
        return all(each in self._published or self._is_kept_out(each) for each in namespaces)

    def _is_kept_out(self, namespace: str) -> bool:
        return self._failures.get(namespace, 0) >= TRIES

    async def _look(self, namespace: str) -> Result:
        try:
            await self._ensure(namespace)
        except NotLeading:
            return Done()
        except KubeError as error:
            self._failed(namespace, error)
            return Retry()
        return RequeueAfter(CHECK_SECONDS)

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
            self._failures.pop(namespace, None)
            if self._problems.pop(namespace, ""):
                self._on_news(namespace)

    def _failed(self, namespace: str, error: KubeError) -> None:
        words = printable(" ".join(str(error).split()), MOST_WORDS)
        self._failures[namespace] = TRIES if not error.retryable else self._failures.get(namespace, 0) + 1
        if self._is_kept_out(namespace) and self._problems.get(namespace) != words:
            self._problems[namespace] = words
            self._on_news(namespace)
        now = self._monotonic()
        if now - self._logged_at.get(namespace, float("-inf")) >= LOG_SECONDS:
            self._logged_at[namespace] = now
            log.warning(
                "The operator's certificate is not published in %s, so sidecars there may take no orders: %s. "
                "Other namespaces are unharmed; it is tried again within a minute.",
                namespace,
                words,
            )

    def _forget_all_but(self, namespaces: Set[str]) -> None:
        self._published &= namespaces
        for remembered in (self._failures, self._problems, self._logged_at):
            for namespace in remembered.keys() - namespaces:
                del remembered[namespace]
        self.queue.forget_namespaces_but(namespaces)
