"""Who the operator is to Prometheus: on a real Prometheus, on TLS of our own, and while files are replaced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from dormouse_contract.idleness import IdleSignal, SignalState
from dormouse_operator.idle_signal.failure import failed
from dormouse_prometheus.api import PrometheusApi
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.errors import PrometheusUnavailable
from dormouse_prometheus.settings import PrometheusSettings

from localcluster.binaries import ensure_binaries
from localcluster.pki import CertificateAuthority
from localcluster.ports import reserve_port
from localcluster.process import Process
from localcluster.workspace import Workspace

from .objects import NOW, read_idle_signal

EMPTY = b'{"status": "success", "data": {"resultType": "vector", "result": []}}'
# bcrypt of "open sesame" at the lowest cost, as Prometheus wants passwords.
HASH = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"


async def look(settings: PrometheusSettings, transport: httpx.AsyncBaseTransport | None = None) -> IdleSignal:
    connection = PrometheusConnection(settings, transport)
    try:
        return await look_again(connection, settings)
    finally:
        await connection.close()


async def look_again(connection: PrometheusConnection, settings: PrometheusSettings) -> IdleSignal:
    try:
        api = PrometheusApi(await connection.client(), settings.url, settings.timeout_seconds)
        return await read_idle_signal(api, clock=lambda: NOW)
    except PrometheusUnavailable as error:
        return failed(error)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def recorder(seen: list[httpx.Headers]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, content=EMPTY)

    return httpx.MockTransport(answer)


async def test_a_token_that_was_replaced_is_used_at_the_next_look(tmp_path: Path) -> None:
    token = write(tmp_path / "token", "one\n")
    settings = PrometheusSettings("http://prometheus", bearer_token_file=token)
    seen: list[httpx.Headers] = []
    connection = PrometheusConnection(settings, recorder(seen))
    for text in ("one\n", "two"):
        token.write_text(text)
        assert not (await look_again(connection, settings)).failure
    await connection.close()
    # Of an empty fleet it is asked twice.
    assert [headers["authorization"] for headers in seen[::2]] == ["Bearer one", "Bearer two"]


async def test_a_look_that_goes_on_while_files_are_replaced_is_not_cut_off(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    bundle = write(tmp_path / "ca.crt", authority.certificate.read_text())
    settings = PrometheusSettings("https://prometheus", ca_file=bundle)
    connection = PrometheusConnection(settings, recorder([]))
    looking = await connection.api()
    bundle.write_text(authority.certificate.read_text() * 2)
    assert not (await look_again(connection, settings)).failure
    assert (await looking.query("up")).samples == ()
    await connection.close()


async def test_headers_travel_with_the_query_and_their_secrets_come_from_files(tmp_path: Path) -> None:
    settings = PrometheusSettings(
        "http://mimir/prometheus",
        headers=(("X-Scope-OrgID", "team-a"),),
        header_files=(("X-Key", write(tmp_path / "key", "s3cret\n")),),
    )
    seen: list[httpx.Headers] = []
    await look(settings, recorder(seen))
    assert (seen[0]["x-scope-orgid"], seen[0]["x-key"]) == ("team-a", "s3cret")


@pytest.mark.parametrize("content", ["", "\n", "one\ntwo", "schlüssel", None], ids=repr)
async def test_a_secret_that_can_not_be_sent_is_told_without_its_value(tmp_path: Path, content: str | None) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    signal = await look(PrometheusSettings("http://prometheus", bearer_token_file=token))
    assert signal.failure_state is SignalState.PROMETHEUS_UNAUTHORIZED
    assert str(token) in signal.failure
    assert not content or content.strip() not in signal.failure or not content.strip()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def guarded(authority: CertificateAuthority) -> Iterator[tuple[str, Path]]:
    """A real Prometheus with TLS and a password, and a folder; it scrapes nothing but itself."""
    workspace = Workspace()
    folder = workspace.path
    pair = authority.issue("prometheus", common_name="prometheus")
    web = {
        "tls_server_config": {"cert_file": str(pair.certificate), "key_file": str(pair.key)},
        "basic_auth_users": {"dormouse": HASH},
    }
    # A rule gives it a replica whose figures are known.
    series = {
        "dormouse_model_residency": ("vector(1)", {"residency": "GPU"}),
        "dormouse_model_in_flight_requests": ("vector(0)", {}),
        "dormouse_model_idle_since_timestamp_seconds": ("vector(time() - 100)", {}),
    }
    replica = {"namespace": "speech", "pod": "tts-0", "model": "tts"}
    rules = [{"record": name, "expr": expr, "labels": replica | more} for name, (expr, more) in series.items()]
    write(folder / "web.yml", yaml.safe_dump(web))
    write(folder / "rules.yml", yaml.safe_dump({"groups": [{"name": "replica", "interval": "1s", "rules": rules}]}))
    write(folder / "prometheus.yml", yaml.safe_dump({"rule_files": [str(folder / "rules.yml")]}))
    port = reserve_port()
    url = f"https://127.0.0.1:{port}"
    command = [
        ensure_binaries(("prometheus",))["prometheus"],
        f"--config.file={folder / 'prometheus.yml'}",
        f"--web.config.file={folder / 'web.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    trusted = ssl.create_default_context(cafile=str(authority.certificate))

    def ready() -> bool:
        try:
            answer = httpx.get(
                f"{url}/api/v1/query",
                params={"query": "dormouse_model_idle_since_timestamp_seconds"},
                auth=("dormouse", "open sesame"),
                verify=trusted,
                trust_env=False,
            )
        except httpx.TransportError:
            return False
        return answer.is_success and bool(answer.json()["data"]["result"])

    try:
        with Process("prometheus", command, directory=folder) as process:
            process.wait_until(ready, deadline_seconds=60)
            yield url, folder
    finally:
        workspace.remove()


async def test_a_real_prometheus_with_tls_and_a_password_is_read(
    guarded: tuple[str, Path], authority: CertificateAuthority, tmp_path: Path
) -> None:
    url, _ = guarded
    password = write(tmp_path / "password", "open sesame\n")
    settings = PrometheusSettings(url, username="dormouse", password_file=password, ca_file=authority.certificate)
    connection = PrometheusConnection(settings)
    try:
        for namespaces, state in ((("speech", "a-b"), "IdleSignalFresh"), (("a-b",), ""), ((), "")):
            api = PrometheusApi(await connection.client(), url)
            signal = await read_idle_signal(api, namespaces=namespaces, clock=lambda: NOW)
            assert not signal.failure
            seen = signal.see(("speech", "tts-0", "tts"), 10)
            assert seen.state == (state or "IdleSignalMissing")
    finally:
        await connection.close()


async def test_a_real_prometheus_refuses_a_wrong_password_and_its_authority_must_be_known(
    guarded: tuple[str, Path], authority: CertificateAuthority, tmp_path: Path
) -> None:
    url, _ = guarded
    password = write(tmp_path / "password", "open barley")
    wrong = await look(
        PrometheusSettings(url, username="dormouse", password_file=password, ca_file=authority.certificate)
    )
    assert wrong.failure_state is SignalState.PROMETHEUS_UNAUTHORIZED
    stranger = await look(PrometheusSettings(url, username="dormouse", password_file=password))
    assert "not trusted" in stranger.failure
    misnamed = PrometheusSettings(
        url,
        username="dormouse",
        password_file=password,
        ca_file=authority.certificate,
        server_name="elsewhere.example",
    )
    assert "not trusted" in (await look(misnamed)).failure
    plain = await look(PrometheusSettings(url.replace("https", "http")))
    assert plain.failure


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Each connection's request is read to the end of its head, then `talk` has it."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def answer_empty(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(EMPTY)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + EMPTY)
    await writer.drain()


async def test_a_client_certificate_is_shown_and_a_replaced_one_is_used_at_the_next_look(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    own = authority.issue("mtls", common_name="prometheus")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own.certificate, own.key)
    tls.load_verify_locations(authority.certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    shown: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.append(writer.get_extra_info("peercert")["serialNumber"])
        await answer_empty(reader, writer)

    def renew() -> None:
        pair = authority.issue("client", common_name="dormouse")
        write(tmp_path / "tls.crt", pair.certificate.read_text())
        write(tmp_path / "tls.key", pair.key.read_text())

    async with server(talk, tls) as port:
        url = f"https://127.0.0.1:{port}"
        settings = PrometheusSettings(
            url,
            ca_file=authority.certificate,
            certificate_file=tmp_path / "tls.crt",
            key_file=tmp_path / "tls.key",
            server_name="localhost",
        )
        connection = PrometheusConnection(settings)
        for _ in range(2):
            renew()
            assert not (await look_again(connection, settings)).failure
        assert not (await look_again(connection, settings)).failure
        # Each look at an empty fleet asks twice.
        assert len(shown) == 6
        assert len(set(shown)) == 2
        # Half of a renewal: the key of another certificate.
        write(tmp_path / "tls.key", own.key.read_text())
        assert "belongs to its certificate" in (await look_again(connection, settings)).failure
        await connection.close()
        stranger = await look(PrometheusSettings(url, ca_file=authority.certificate))
        assert "client certificate" in stranger.failure


async def truncated(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n" + EMPTY)
    await writer.drain()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("talk", "words"),
    [(truncated, "broke off"), (reset, "broke off"), (no_http, "broke off"), (dripping, "no answer within")],
    ids=["truncated", "reset", "no HTTP", "dripping"],
)
async def test_what_goes_wrong_on_the_wire_is_a_failure_in_words(talk: Talk, words: str) -> None:
    async with server(talk) as port:
        signal = await look(PrometheusSettings(f"http://127.0.0.1:{port}", timeout_seconds=0.3))
    assert words in signal.failure
    assert signal.failure_state is SignalState.PROMETHEUS_UNAVAILABLE
