"""Who a request comes from, and what that lets them do. Two ways, and neither lends anybody a right they lack.

- With tokens (in the cluster): the request's own bearer token goes on to the API server. Without one, nothing is
  asked.
- Local (on somebody's machine): the console acts with the kubeconfig of the one who started it, and only for requests
  that bring the key that it printed. Other users of the machine and other sites in the browser don't have it.
"""

import hmac
import ipaddress
from typing import Protocol

import httpx
from fastapi import Request

from .errors import NotAuthenticated, Refused, SettingsError
from .kube import Caller


class Callers(Protocol):
    local: bool

    def of(self, request: Request) -> Caller:
        """Raises NotAuthenticated."""
        ...


class TokenCallers:
    local = False

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    def of(self, request: Request) -> Caller:
        return Caller(self._http, _bearer(request))


class LocalCallers:
    local = True

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self._http, self._key = http, key

    def of(self, request: Request) -> Caller:
        # A name re-bound to 127.0.0.1 is still the name of somebody else's site.
        if not is_loopback(_host(request)):
            raise Refused(403, "Not by this name", "A local console answers to localhost and 127.0.0.1 only")
        if not hmac.compare_digest(_bearer(request).encode(), self._key.encode()):
            detail = "This is not the key of this console: open the address that it printed when it was started"
            raise Refused(401, "Open the printed address", detail)
        return Caller(self._http, None)


def loopback_only(host: str) -> None:
    """Raises SettingsError for a host on which others could reach somebody's own credentials."""
    if not is_loopback(host):
        raise SettingsError(
            f"--local uses your own credentials, so --host must be a loopback address and not {host!r}; "
            "leave --host out, or leave --local out and let everybody bring a token"
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(request: Request) -> str:
    """Without the port; of several headers none counts."""
    given = request.headers.getlist("host")
    if len(given) != 1:
        return ""
    return given[0].rpartition("]")[0].removeprefix("[") if given[0].startswith("[") else given[0].partition(":")[0]


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("The console has no rights of its own: it asks the API server as you, with your token")
    return token.strip()
