"""The injecting webhook: AdmissionReviews in, answers out, over HTTPS. It needs no right in the cluster.

Whatever comes, the pod is allowed: the worst that may happen to a pod that asked for a sidecar is that it runs
without one. The certificate is read again when its files change, since the kubelet swaps them below us.
"""

import asyncio
import base64
import json
import logging
import signal
import ssl
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from ..connections import BACKLOG, Connections
from ..errors import SettingsError
from ..quiet_log import QuietLog
from .injection import Injection, inject
from .settings import SidecarSettings, WebhookSettings

MAX_BODY_BYTES = 4 * 1024 * 1024
"""etcd takes 1.5 MiB for an object; a review carries it and little else."""
BODY_SECONDS = 5.0
HANDSHAKE_SECONDS = 5.0
CERTIFICATE_LOOK_SECONDS = 10.0
log = logging.getLogger(__name__)
quiet_log = QuietLog(log)


def answer(review: Any, sidecar: SidecarSettings) -> dict[str, Any]:
    """An AdmissionReview with a response. Raises ValueError for a body that is none."""
    request = review.get("request") if isinstance(review, dict) else None
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str):
        raise ValueError("this is no AdmissionReview with a request")
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    try:
        done = inject(request.get("object") or {}, sidecar)
    except Exception:
        quiet_log.exception("pod", "A pod could not be read; it runs without a sidecar.")
        done = Injection(warnings=("dormouse: no sidecar was injected: the pod could not be read",))
    if done.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(done.patch).encode()).decode()
    if done.warnings:
        response["warnings"] = list(done.warnings)
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def application(sidecar: SidecarSettings) -> web.Application:
    async def review(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                sent = await request.json()
            body = answer(sent, sidecar)
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text=f"the body did not come within {BODY_SECONDS:g} s\n") from error
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return web.json_response(body)

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes([web.post("/inject", review), web.get("/healthz", health)])
    return app


class Certificate:
    """One context whose certificate is replaced in place: new handshakes show the new one."""

    def __init__(self, folder: Path) -> None:
        """Raises SettingsError when there is none."""
        self._files = folder / "tls.crt", folder / "tls.key"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._shown: tuple[bytes, ...] = ()
        try:
            self.refresh()
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"--certificate-dir {folder} has no tls.crt with its tls.key: {error}") from error

    def refresh(self) -> bool:
        """Whether it has changed. Raises OSError or ssl.SSLError; the old one is shown on."""
        found = tuple(file.read_bytes() for file in self._files)
        if found == self._shown:
            return False
        # Tried apart first: files that don't belong together would leave this context without any.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
        self.context.load_cert_chain(*self._files)
        self._shown = found
        return True


async def serve(settings: WebhookSettings, stop: asyncio.Event) -> None:
    """Until `stop`. Raises SettingsError for a missing certificate and a port that is taken."""
    certificate = Certificate(settings.certificate_dir)
    runner = web.AppRunner(application(settings.sidecar), access_log=None)
    await runner.setup()
    try:
        try:
            server = await _listen(runner, settings, certificate.context)
        except OSError as error:
            raise SettingsError(f"--port {settings.port} can't be listened on: {error.strerror or error}") from error
        log.info("Injecting %s on port %d", settings.sidecar.image, settings.port)
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), CERTIFICATE_LOOK_SECONDS)
            except TimeoutError:
                _look(certificate)
        server.close()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: WebhookSettings, context: ssl.SSLContext) -> asyncio.Server:
    """The API server keeps its connections for many reviews; whoever asks nothing has none for long."""
    made = runner.server
    assert made is not None  # noqa: S101 - for the types: it is set up
    connections = Connections(lambda: made, one_request=False, access_log=None)
    made.request_handler = partial(connections.answering, made.request_handler)
    return await asyncio.get_running_loop().create_server(
        connections,
        settings.host,
        settings.port,
        ssl=context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        backlog=BACKLOG,
    )


async def run(settings: WebhookSettings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)


def _look(certificate: Certificate) -> None:
    try:
        if certificate.refresh():
            log.info("The webhook's certificate was replaced")
    except (OSError, ssl.SSLError) as error:
        log.warning("The new certificate can't be used, the old one is shown on: %s", error)
