"""Only a client that shows one of the trusted certificates itself is let in; the rest goes on meanwhile."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from dormouse_sidecar import Sidecar

from tests.waiting import auntil

from .certificates import Credential, anonymous_context, make_credential
from .clients import MODELS, RESIDENCY, ask, connected, look, metric, order
from .model_process import ModelProcess
from .mounted_trust import MountedTrust


async def assert_refused(sidecar: Sidecar, model_process: ModelProcess, client: Credential | ssl.SSLContext) -> None:
    """Refused, while health and metrics answer and nothing has reached the model process."""
    reached = model_process.reached
    with pytest.raises(httpx.TransportError):
        await ask(sidecar.control.port, client, "PUT", RESIDENCY, json=order())
    assert model_process.reached == reached
    assert (await look(sidecar.plain.port, "/healthz")).status_code == 200
    assert metric((await look(sidecar.plain.port, "/metrics")).text, "dormouse_model_process_up") == 1


async def test_the_operator_is_let_in(sidecar: Sidecar, model_process: ModelProcess, operator: Credential) -> None:
    answer = await ask(sidecar.control.port, operator)
    assert answer.status_code == 200
    assert answer.json()["models"][0]["name"] == "tts"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(anonymous_context, id="no certificate"),
        pytest.param(lambda: make_credential("operator"), id="a foreign one with the same name"),
    ],
)
async def test_strangers_are_refused(
    sidecar: Sidecar,
    model_process: ModelProcess,
    client: Callable[[], Credential | ssl.SSLContext],
) -> None:
    await assert_refused(sidecar, model_process, client())


@pytest.mark.parametrize("is_ca", [False, True, None], ids=["leaf", "CA", "no constraints"])
async def test_what_a_trusted_certificate_has_signed_is_refused(
    closed_sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust, is_ca: bool | None
) -> None:
    parent = make_credential("operator", is_ca=is_ca)
    trust.publish(parent)
    await auntil(lambda: closed_sidecar.control.is_open)
    await assert_refused(closed_sidecar, model_process, make_credential("child", issuer=parent))
    assert (await ask(closed_sidecar.control.port, parent)).status_code == 200


async def test_a_trusted_leaf_that_is_not_self_signed_is_let_in_and_its_issuer_is_not(
    closed_sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust
) -> None:
    authority = make_credential("authority", is_ca=True)
    leaf = make_credential("operator", issuer=authority)
    trust.publish(leaf)
    await auntil(lambda: closed_sidecar.control.is_open)
    assert (await ask(closed_sidecar.control.port, leaf)).status_code == 200
    await assert_refused(closed_sidecar, model_process, authority)
    await assert_refused(closed_sidecar, model_process, make_credential("other", issuer=authority))


async def test_an_expired_certificate_is_refused_though_it_is_in_the_folder(
    closed_sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust, operator: Credential
) -> None:
    expired = make_credential("operator", valid_for=-timedelta(hours=1))
    trust.publish(operator, expired)
    await auntil(lambda: closed_sidecar.control.is_open)
    await assert_refused(closed_sidecar, model_process, expired)


async def test_tls_1_2_is_refused(sidecar: Sidecar, model_process: ModelProcess, operator: Credential) -> None:
    await assert_refused(sidecar, model_process, operator.client_context(ssl.TLSVersion.TLSv1_2))


async def test_plain_http_on_the_control_port_is_refused(sidecar: Sidecar, model_process: ModelProcess) -> None:
    with pytest.raises(httpx.TransportError):
        await look(sidecar.control.port, MODELS)
    assert model_process.reached == 0
    assert (await look(sidecar.plain.port, "/healthz")).status_code == 200


async def test_a_client_that_sends_a_server_name_is_let_in_too(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    named = {"sni_hostname": "pod.example"}
    assert (await ask(sidecar.control.port, operator, extensions=named)).status_code == 200


async def test_a_replaced_certificate_is_refused_at_once_and_the_new_one_is_let_in(
    sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust, operator: Credential
) -> None:
    assert (await ask(sidecar.control.port, operator)).status_code == 200
    successor = make_credential("operator")
    trust.publish(successor)

    async def successor_is_let_in() -> bool:
        try:
            return (await ask(sidecar.control.port, successor)).status_code == 200
        except httpx.TransportError:
            return False

    await auntil(successor_is_let_in)
    await assert_refused(sidecar, model_process, operator)


async def test_during_a_rotation_both_are_let_in(
    sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust, operator: Credential
) -> None:
    successor = make_credential("operator")
    trust.publish(operator, successor_pem=successor.pem)

    async def both_are_let_in() -> bool:
        try:
            answers = [await ask(sidecar.control.port, one) for one in (operator, successor)]
        except httpx.TransportError:
            return False
        return [answer.status_code for answer in answers] == [200, 200]

    await auntil(both_are_let_in)


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "withdrawn"])
async def test_a_connection_from_before_the_change_gets_nothing_done(
    sidecar: Sidecar,
    model_process: ModelProcess,
    trust: MountedTrust,
    operator: Credential,
    replaced: bool,
) -> None:
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(b"GET " + MODELS.encode() + b" HTTP/1.1\r\nHost: pod\r\n")
        await writer.drain()
        await auntil(lambda: sidecar.control.connections == 1)
        if replaced:
            successor = make_credential("operator")
            trust.publish(successor)
            await auntil(lambda: _admits(sidecar, successor))
        else:
            trust.withdraw()
            await auntil(lambda: not sidecar.control.is_open)
        writer.write(b"\r\n")
        async with asyncio.timeout(5):
            assert await _rest(reader) == b""
    assert model_process.reached == 0


async def test_no_session_is_offered_for_resumption(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(b"GET " + MODELS.encode() + b" HTTP/1.1\r\nHost: pod\r\n\r\n")
        # A ticket would come with the first bytes after the handshake.
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        session = writer.get_extra_info("ssl_object").session
        assert session is None or not session.has_ticket


def _admits(sidecar: Sidecar, credential: Credential) -> bool:
    door = sidecar.control._door
    return door is not None and ssl.PEM_cert_to_DER_cert(credential.pem.decode()) in door.admitted


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(-1)
    except OSError:
        return b""
