"""Says that the console's loop turns, and nothing else: what the kubelet asks."""

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send


class Health:
    """An ASGI app: `GET /healthz` is 200, everything else 404."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        well = scope["path"] == "/healthz" and scope["method"] in ("GET", "HEAD")
        answer = PlainTextResponse("ok\n") if well else PlainTextResponse("Here is /healthz.\n", status_code=404)
        await answer(scope, receive, send)
