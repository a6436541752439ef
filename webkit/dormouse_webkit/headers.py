"""What every answer carries, so that no page of ours can be framed, sniffed or scripted, and nothing is kept of it.

A page needs nothing from elsewhere, so it may load nothing from elsewhere and send nothing to anywhere else: an
injected element finds no script source, no style source and no place to send a token to.
"""

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def secured(response: Response) -> Response:
    """The same response with these headers, for routes inside somebody else's app."""
    _secure(response.headers)
    return response


class Secured:
    """Around an app that is all ours, so that no answer goes without, errors of the framework included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                _secure(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, secured)


def _secure(headers: MutableHeaders) -> None:
    """State is never cached unless the route says otherwise."""
    headers.update(_HEADERS)
    headers.setdefault("Cache-Control", "no-store")
