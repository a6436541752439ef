"""The HTTP client for Prometheus, with the credentials of this moment.

The files are read anew before each look at the fleet: projected tokens are replaced every hour, certificates
by whoever renews them. Reading a few small files each tick is cheaper than to find out reliably whether they
changed. Only when the TLS files differ is a new client made, since a context keeps what it once loaded.
"""

import asyncio
import base64
import ssl
from pathlib import Path

import httpx

from .answers import Series, Vector
from .api import MAX_ANSWER_BYTES, PrometheusApi
from .errors import PrometheusUnauthorized
from .settings import PrometheusSettings

# A projected token has 1 KB, a bundle of all the usual authorities 200 KB.
MAX_FILE_BYTES = 1 << 20


class PrometheusConnection:
    """`user_agent` is who asks; `transport` replaces the network. An answer has at most `max_answer_bytes`."""

    def __init__(
        self,
        settings: PrometheusSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        user_agent: str = "dormouse-operator",
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._settings = settings
        self._user_agent = user_agent
        self._max_answer_bytes = max_answer_bytes
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._before: httpx.AsyncClient | None = None
        self._made_of: tuple[bytes, ...] = ()
        self._one_at_a_time = asyncio.Lock()

    async def query(self, promql: str, at: float | None = None, *, max_bytes: int | None = None) -> Vector:
        return await (await self.api()).query(promql, at, max_bytes=max_bytes)

    async def query_range(self, promql: str, start: float, end: float, step: int) -> tuple[Series, ...]:
        return await (await self.api()).query_range(promql, start, end, step)

    async def api(self) -> PrometheusApi:
        """For one look, of as many queries as it takes. Raises PrometheusUnauthorized when a file can't be used."""
        client = await self.client()
        return PrometheusApi(client, self._settings.url, self._settings.timeout_seconds, self._max_answer_bytes)

    async def client(self) -> httpx.AsyncClient:
        """Raises PrometheusUnauthorized when a file can't be used."""
        settings = self._settings
        headers = self._headers()
        made_of = tuple(
            _read(path) for path in (settings.ca_file, settings.certificate_file, settings.key_file) if path
        )
        # Two callers that find renewed files make one new client of them.
        async with self._one_at_a_time:
            if self._client is None or made_of != self._made_of:
                fresh = self._new_client()
                # Somebody may be in the middle of a look with the one before: it stays until the next renewal.
                await self._close(self._before)
                self._before, self._client, self._made_of = self._client, fresh, made_of
            client = self._client
        client.headers.update(headers)
        return client

    async def close(self) -> None:
        for client in (self._client, self._before):
            await self._close(client)
        self._client = self._before = None

    @staticmethod
    async def _close(client: httpx.AsyncClient | None) -> None:
        if client is not None:
            await client.aclose()

    def _headers(self) -> dict[str, str]:
        settings = self._settings
        headers = dict(settings.headers)
        headers |= {name: _secret(path) for name, path in settings.header_files}
        if settings.bearer_token_file:
            headers["Authorization"] = f"Bearer {_secret(settings.bearer_token_file)}"
        if settings.password_file:
            pair = f"{settings.username}:{_text(settings.password_file)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers

    def _new_client(self) -> httpx.AsyncClient:
        server_name = self._settings.server_name

        async def name_the_server(request: httpx.Request) -> None:
            if server_name:
                request.extensions["sni_hostname"] = server_name

        return httpx.AsyncClient(
            verify=self._tls() if self._settings.encrypted else True,
            transport=self._transport,
            timeout=self._settings.timeout_seconds,
            # Prometheus is near, and to unpack would cost more than to receive.
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity", "Cache-Control": "no-store"},
            event_hooks={"request": [name_the_server]},
            trust_env=False,
        )

    def _tls(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            # With a CA file of its own nobody else is trusted.
            context = (
                ssl.create_default_context(cafile=str(settings.ca_file))
                if settings.ca_file
                else httpx.create_ssl_context(trust_env=False)
            )
            if settings.certificate_file and settings.key_file:
                # A password is never asked for: nobody is there to type it.
                context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise PrometheusUnauthorized(
                f"the CA, certificate or key for Prometheus can't be used ({reason}); write PEM into "
                "the files, without a passphrase, a key that belongs to its certificate"
            ) from error
        return context


def _secret(path: Path) -> str:
    """What goes into a header. The value is never part of a message."""
    text = _text(path)
    if not (text.isascii() and text.isprintable()):
        raise PrometheusUnauthorized(f"{path} has more than one line or odd characters; write the bare secret into it")
    return text


def _text(path: Path) -> str:
    try:
        text = _read(path).decode().strip()
    except UnicodeDecodeError as error:
        raise PrometheusUnauthorized(f"{path} is no text; write the bare secret into it") from error
    if not text:
        raise PrometheusUnauthorized(f"{path} is empty; write the secret into it")
    return text


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PrometheusUnauthorized(f"{path} can't be read ({error.strerror}); mount the file") from error
    if len(content) > MAX_FILE_BYTES:
        raise PrometheusUnauthorized(f"{path} has more than {MAX_FILE_BYTES} bytes; it can't be the right file")
    return content
