"""The few calls to the API server that kubectl would be too slow or too clumsy for.

Plain HTTP with the admin's certificate: a kubectl call costs a tenth of a second of CPU, and tests make
hundreds.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from localcluster.errors import ApiRefused, NotReadyInTime
from localcluster.pki import KeyPair

# What tests and demos put into a namespace. There is no controller that would find out by itself.
EMPTIED = (
    "/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels",
    "/api/v1/namespaces/{namespace}/pods",
    "/api/v1/namespaces/{namespace}/configmaps",
    "/api/v1/namespaces/{namespace}/secrets",
    "/api/v1/namespaces/{namespace}/events",
    "/apis/events.k8s.io/v1/namespaces/{namespace}/events",
    "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
)


class Api:
    """Connections are made when they are first needed, and again after `close()`."""

    def __init__(self, url: str, ca: Path, admin: KeyPair) -> None:
        self._url = url
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._tls.load_cert_chain(admin.certificate, admin.key)
        self._open: httpx.Client | None = None

    @property
    def tls(self) -> ssl.SSLContext:
        """The admin's, for clients that send more than one request at a time."""
        return self._tls

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """The answer's JSON. Raises ApiRefused, or httpx.TransportError when nobody answers."""
        headers = {"Content-Type": content_type}
        response = self._client.request(method, path, json=body, headers=headers)
        # An unknown group or version is answered in plain text.
        is_json = response.headers.get("content-type", "").startswith("application/json")
        answer: dict[str, Any] = response.json() if is_json else {"message": response.text.strip()}
        if response.is_error:
            raise ApiRefused(method, path, response.status_code, str(answer.get("message", answer)))
        return answer

    def is_ready(self) -> bool:
        """The API answers, its built-in roles are there, and so is the namespace `default`."""
        if not self._client.get("/readyz").is_success:
            return False
        return self._client.get("/api/v1/namespaces/default").is_success

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        metadata = {"name": name, "labels": dict(labels or {})}
        self.request("POST", "/api/v1/namespaces", {"metadata": metadata})

    def remove_namespace(self, name: str) -> None:
        """Empty and delete a namespace, which here nobody else does. What is missing is fine."""
        now = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        for collection in EMPTIED:
            self._tolerant("DELETE", collection.format(namespace=name), now)
        self._tolerant("DELETE", f"/api/v1/namespaces/{name}", now)
        finalized = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name},
            "spec": {"finalizers": []},
        }
        self._tolerant("PUT", f"/api/v1/namespaces/{name}/finalize", finalized)

    def service_account_token(self, namespace: str, name: str, seconds: int) -> str:
        """A token of the TokenRequest API; makes the ServiceAccount when it is missing."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self._tolerant("POST", accounts, {"metadata": {"name": name}}, tolerated=409)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        spec = {"spec": {"expirationSeconds": seconds}}
        return str(self.request("POST", f"{accounts}/{name}/token", request | spec)["status"]["token"])

    def wait_for_crd(self, name: str, deadline_seconds: float = 30.0) -> None:
        """Return when objects of this kind can be listed: Established alone comes a moment before."""
        deadline = time.monotonic() + deadline_seconds
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        while True:
            found = self.request("GET", path)
            # Freshly created, `conditions` is there and null.
            conditions = found.get("status", {}).get("conditions") or []
            states = {condition["type"]: condition["status"] for condition in conditions}
            group, spec = found["spec"]["group"], found["spec"]
            if states.get("Established") == "True":
                served = f"/apis/{group}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
                if self._client.get(served).is_success:
                    return
            if time.monotonic() >= deadline:
                raise NotReadyInTime(
                    f"{name} was not served within {deadline_seconds:g} s; its conditions: {states}. "
                    "Everything else works. Look at `kubectl describe crd` for the reason."
                )
            time.sleep(0.05)

    def _tolerant(self, method: str, path: str, body: Mapping[str, Any], *, tolerated: int = 404) -> None:
        try:
            self.request(method, path, body)
        except ApiRefused as error:
            if error.status != tolerated:
                raise

    @property
    def _client(self) -> httpx.Client:
        if self._open is None:
            self._open = httpx.Client(base_url=self._url, verify=self._tls, timeout=30, trust_env=False)
        return self._open
