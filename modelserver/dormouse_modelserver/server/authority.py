"""Who may read and who may change state through one port. A client's address never counts.

A browser on the same machine is the way in that is easily forgotten: any page it has open can send requests to
loopback. So every request is looked at for what only a browser says (`Sec-Fetch-Site`, `Origin`) and for the name
it was sent to (`Host`), before tokens are.
"""

import hmac
import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from dormouse_contract.problems import ProblemReason
from fastapi import Request

from .problems import Refusal

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)


class Access(StrEnum):
    """What it takes to change state; the page says so in words.

    OPEN: nothing more than reaching the port. TOKEN: the bearer token. OPERATOR: nobody here, the operator
    decides through the control socket. NOBODY: no token was set.
    """

    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - the kind of access, not a token
    OPERATOR = "operator"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Authority:
    """hosts: the names that a request may be sent to; None takes any (a port for others, or a unix socket)."""

    access: Access
    hosts: frozenset[str] | None = None
    token: str = field(default="", repr=False)

    def may_read(self, request: Request) -> None:
        """Raises `Refusal` for a request that was sent to another name."""
        self._check_host(request)

    def may_watch(self, request: Request) -> None:
        """For a stream, of which there are only so many: no page of another site may take one up."""
        self._check_host(request)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise _from_elsewhere()

    def may_change(self, request: Request) -> None:
        """Raises `Refusal` for whoever may not change state; nothing has been read of the body then."""
        self._check_host(request)
        _check_origin(request)
        match self.access:
            case Access.OPERATOR:
                detail = "This port changes no state: the operator orders through the control socket"
                raise _refuse(403, "Read-only here", detail)
            case Access.NOBODY:
                detail = (
                    "This port changes no state: no DORMOUSE_PANEL_TOKEN is set. Start the server with one and send "
                    "it as `Authorization: Bearer`"
                )
                raise _refuse(403, "Read-only here", detail)
            case Access.TOKEN:
                scheme, _, given = request.headers.get("authorization", "").partition(" ")
                known = hmac.compare_digest(given.strip().encode(), self.token.encode())
                if scheme.lower() != "bearer" or not known:
                    detail = "Send `Authorization: Bearer` with the server's DORMOUSE_PANEL_TOKEN"
                    raise _refuse(401, "A token is needed", detail)

    def _check_host(self, request: Request) -> None:
        if self.hosts is None:
            return
        given = request.headers.get("host", "")
        named = _HOST.fullmatch(given.lower())
        if named is None or named[1].strip("[]") not in self.hosts:
            ours = ", ".join(sorted(self.hosts))
            detail = f"Host {given[:100]!r} is not this server; use {ours}, or let the proxy in front send one of them"
            raise _refuse(403, "Unknown host", detail)


# For a unix socket, which only its own pod or user can open.
anyone = Authority(Access.OPEN)
nobody = Authority(Access.NOBODY)


def token_authority(hosts: frozenset[str] | None = None) -> Authority:
    """Who knows `DORMOUSE_PANEL_TOKEN`; without one, or behind a sidecar, nobody."""
    token = os.environ.get("DORMOUSE_PANEL_TOKEN", "")
    if os.environ.get("DORMOUSE_SOCKET"):
        return Authority(Access.OPERATOR, hosts)
    return Authority(Access.TOKEN, hosts, token) if token else Authority(Access.NOBODY, hosts)


def loopback_authority(hosts: frozenset[str]) -> Authority:
    """For a server that bound itself to loopback: no token, but the Host must be one of `hosts`.

    A page from elsewhere that a name was re-bound for (DNS rebinding) sends its own Host and is refused.
    """
    return Authority(Access.OPEN, hosts)


def _check_origin(request: Request) -> None:
    """A browser says where a request comes from; a program that is none says nothing and is let on.

    Behind a proxy the Host may be another than the browser's, so its own word (`Sec-Fetch-Site`) comes first; it
    says it on https and loopback only, and then the Origin must be the Host.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is None:
        return
    if site is not None:
        ours = site == "same-origin"
    else:
        ours = urlsplit(origin or "").netloc == request.headers.get("host", "")
    if not ours:
        raise _from_elsewhere()
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        detail = "A page sends a control body as application/json; this one says otherwise"
        raise Refusal(415, ProblemReason.BAD_BODY, "Unsupported media type", f"{detail}. Nothing was moved")


def _from_elsewhere() -> Refusal:
    detail = "A page of another site made this request, and only this server's own page may"
    return _refuse(403, "From another site", detail)


def _refuse(status: int, title: str, detail: str) -> Refusal:
    return Refusal(status, ProblemReason.NOT_AUTHORISED, title, f"{detail}. Nothing was moved")
