"""The few requests that the operator makes of the API server, each with a time limit.

On the official client's `ApiClient` alone, for its kubeconfig and token handling: creating its `CoreV1Api`
costs 93 MB of memory, and typed models would cost more.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import kopf
from dormouse_contract.printable import printable
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

from ..errors import KubeConflict, KubeError, KubeNotFound, KubeUnavailable, NotLeading

REQUEST_TIMEOUT_SECONDS = 15.0
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
# A webhook of somebody else may write the words of a refusal.
MAX_MESSAGE_CHARACTERS = 1024


async def load_configuration(kubeconfig: Path | None) -> Configuration:
    """From the kubeconfig file, or from the service account of the pod that we run in."""
    configuration = Configuration()
    # As kopf does it for the watches. To look for proxies and passwords in the environment is dear at each request.
    configuration.client_session_kwargs = {"trust_env": False}
    if kubeconfig is None:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await load_kube_config(str(kubeconfig), None, configuration, persist_config=False)  # type: ignore[no-untyped-call]
    return configuration


def kopf_connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same server and credentials for kopf's watches. Its token is read anew at each login."""
    hook: Callable[[Configuration], object] | None = configuration.refresh_api_key_hook
    if callable(hook):
        hook(configuration)
    authorization = str(configuration.api_key.get("BearerToken", ""))
    scheme, _, token = authorization.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


class Kube:
    """`request` is all of it; tests put a class with the same method in its place."""

    def __init__(
        self,
        client: ApiClient,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        *,
        may_write: Callable[[], bool] = lambda: True,
        on_answer: Callable[[str, int], None] = lambda verb, status: None,
    ) -> None:
        """`may_write` is asked before anything is sent that is not a GET: only a leader changes the cluster.

        `on_answer` hears the HTTP verb and the status of each request, 0 for none.
        """
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._may_write = may_write
        self._on_answer = on_answer

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str | int] | None = None,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """The answer's JSON. Raises KubeConflict, KubeNotFound, KubeUnavailable (NotLeading included) or KubeError."""
        what = f"{method} {path}"
        if method != "GET" and not self._may_write():
            raise NotLeading(f"{what}: not sent, this operator stands by", 0)
        try:
            status, data = await self._ask(method, path, body, content_type, query, accept)
        except TimeoutError as error:
            self._on_answer(method, 0)
            raise KubeUnavailable(f"{what}: no answer within {self._timeout_seconds:g} s", 0) from error
        except (aiohttp.ClientError, OSError) as error:
            self._on_answer(method, 0)
            raise KubeUnavailable(f"{what}: {error or type(error).__name__}", 0) from error
        self._on_answer(method, status)
        if 200 <= status < 300:
            return _json(data)
        raise _error(what, status, _json(data))

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        content_type: str,
        query: Mapping[str, str | int] | None,
        accept: str,
    ) -> tuple[int, bytes]:
        async with asyncio.timeout(self._timeout_seconds):
            # Without the body, which it would copy to make JSON of what is JSON.
            method, url, headers, *_ = await self._client.param_serialize(
                method,
                f"{path}?{urlencode(query)}" if query else path,
                header_params={"Content-Type": content_type, "Accept": accept},
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(method, url, headers, body, _request_timeout=self._timeout_seconds)
            data: bytes = await response.read()  # type: ignore[no-untyped-call]
        return response.status, data

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]


def _json(data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except ValueError:
        return {"message": data[:200].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"message": str(answer)[:200]}


def _error(what: str, status: int, answer: Mapping[str, Any]) -> KubeError:
    message = f"{what}: HTTP {status}: {printable(answer.get('message', ''), MAX_MESSAGE_CHARACTERS)}"
    if status == 404:
        return KubeNotFound(message, status)
    if status == 409:
        return KubeConflict(message, status)
    if status == 429 or status >= 500:
        return KubeUnavailable(message, status)
    return KubeError(message, status)
