"""The API server, asked with the credentials of whoever asks the console, and with no others."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from .errors import NotAuthenticated, Refused, SettingsError

TIMEOUT_SECONDS = 20.0
FIELD_MANAGER = "dormouse-console"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")


def connect(url: str, ca: Path | None) -> httpx.AsyncClient:
    """A client without credentials of its own. Raises SettingsError for an address or file that can't be used."""
    if not url.startswith("https://"):
        raise SettingsError(f"--api-server is {url!r}; write its https:// address, since tokens travel to it")
    try:
        trust = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        raise SettingsError(f"--api-server-ca is {ca}, which can't be read as PEM certificates ({error})") from error
    return httpx.AsyncClient(base_url=url, verify=trust, timeout=TIMEOUT_SECONDS, trust_env=False)


class Caller:
    """Who asks. What the API server refuses them comes out as a Refused with its own sentence."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        """`token` None: the connection itself carries the credentials (see `local.py`)."""
        if token is not None and not _TOKEN.fullmatch(token):
            raise NotAuthenticated("That is no bearer token: it has characters that a token never has")
        self._http = http
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **parameters: str) -> dict[str, Any]:
        return await self._send("GET", path, params=parameters)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._send("POST", path, json=body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        content_type = {"Content-Type": "application/merge-patch+json"}
        return await self._send("PATCH", path, json=body, headers=content_type, params={"fieldManager": FIELD_MANAGER})

    async def may(self, verb: str, namespace: str | None, name: str = "") -> bool:
        """What RBAC says (SelfSubjectAccessReview); namespace None is the whole cluster."""
        asked = {"verb": verb, "group": "dormouse.dev", "resource": "managedmodels"}
        spec = {"resourceAttributes": {**asked, "namespace": namespace or "", "name": name}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        answer = await self.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool((answer.get("status") or {}).get("allowed", False))

    async def user(self) -> str:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        return str(answer["status"]["userInfo"].get("username", ""))

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, headers={**self._headers, **(headers or {})}, **more)
        except httpx.HTTPError as error:
            raise Refused(
                502,
                "The API server does not answer",
                f"The console can't reach the API server ({type(error).__name__}). "
                + ("Nothing was read" if method == "GET" else "Whether it was done is not known"),
                "Try again; if it goes on, whoever runs the console should look at its log",
            ) from error
        answer = _json(response)
        if response.is_success:
            return answer
        raise _refusal(response.status_code, str(answer.get("message") or f"HTTP {response.status_code}"))


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    if response.is_success:
        raise Refused(502, "That is not the API server", "What answers there speaks no JSON", "Check --api-server")
    return {"message": response.text.strip()[:500]}


def _refusal(status: int, message: str) -> Refused:
    match status:
        case 401:
            return NotAuthenticated("The API server does not take this token: it has expired, or was never valid here")
        case 403:
            return Refused(403, "Not allowed", message, "Ask who gives out rights for a Role; docs/console.md has two")
        case 404:
            return Refused(404, "Not found", message)
        case 409:
            return Refused(409, "Somebody else was first", message, "Look again; repeat it if it still makes sense")
        case 422 | 400:
            return Refused(422, "The API server found it invalid", message)
        case 429 | 503 | 504:
            return Refused(503, "The API server is busy", message, "Try again in a moment")
    return Refused(502, "The API server answered with an error", f"HTTP {status}: {message}")
