"""The control port is open exactly while there is somebody to trust."""

import asyncio
from datetime import timedelta

import pytest
from dormouse_sidecar import Settings, Sidecar
from dormouse_sidecar.gate import Gate
from dormouse_sidecar.http1 import Request, Response
from dormouse_sidecar.identity import Identity
from dormouse_sidecar.listener import Listener
from dormouse_sidecar.telemetry import Telemetry
from dormouse_sidecar.tls import Door
from dormouse_sidecar.trust import read_folder

from tests.waiting import auntil

from .certificates import Credential, make_credential
from .clients import POD_UID, ask, look, metric
from .conftest import LIMITS
from .model_process import ModelProcess
from .mounted_trust import MountedTrust

TRUST_EXPIRY = "dormouse_sidecar_trust_expiry_timestamp_seconds"


async def nobody_listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.transport.abort()
    return False


async def expiry_shown(sidecar: Sidecar) -> float:
    return metric((await look(sidecar.plain.port, "/metrics")).text, TRUST_EXPIRY)


async def test_starts_closed_and_health_answers(closed_sidecar: Sidecar, model_process: ModelProcess) -> None:
    assert await nobody_listens(closed_sidecar.control.port)
    assert (await look(closed_sidecar.plain.port, "/healthz")).status_code == 200
    assert (await look(closed_sidecar.plain.port, "/readyz")).status_code == 200
    assert await expiry_shown(closed_sidecar) == 0


async def test_opens_when_trust_arrives_closes_when_it_goes_and_opens_again(
    closed_sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust, operator: Credential
) -> None:
    control = closed_sidecar.control
    port = control.port
    for _ in range(2):
        trust.publish(operator)
        await auntil(lambda: control.is_open)
        assert (await ask(port, operator)).status_code == 200
        assert await expiry_shown(closed_sidecar) == operator.expires_at
        trust.withdraw()
        await auntil(lambda: not control.is_open)
        assert await nobody_listens(port)
        assert (await look(closed_sidecar.plain.port, "/healthz")).status_code == 200
        assert await expiry_shown(closed_sidecar) == 0


async def test_a_folder_of_ordinary_files_works_too(
    closed_sidecar: Sidecar, model_process: ModelProcess, settings: Settings, operator: Credential
) -> None:
    settings.trust_dir.mkdir()
    (settings.trust_dir / "operator.pem").write_bytes(operator.pem)
    await auntil(lambda: closed_sidecar.control.is_open)
    assert (await ask(closed_sidecar.control.port, operator)).status_code == 200


async def test_broken_certificates_are_told_and_skipped(
    closed_sidecar: Sidecar,
    model_process: ModelProcess,
    trust: MountedTrust,
    operator: Credential,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
    trust.publish(operator_crt=broken + operator.pem, empty_crt=b"", notes_txt=b"not looked at")
    await auntil(lambda: closed_sidecar.control.is_open)
    assert (await ask(closed_sidecar.control.port, operator)).status_code == 200
    assert "operator.crt: certificate 1 can't be read" in caplog.text
    assert "empty.crt: holds no PEM certificate" in caplog.text
    assert "notes" not in caplog.text


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nhalf", b"\xff\x00"])
async def test_a_change_that_leaves_nothing_valid_closes_it(
    sidecar: Sidecar, trust: MountedTrust, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    trust.publish(operator_crt=content)
    await auntil(lambda: not sidecar.control.is_open)
    assert await nobody_listens(sidecar.control.port)
    assert "is closed: no usable certificate" in caplog.text


async def test_only_expired_certificates_are_no_trust_but_their_expiry_is_shown(
    closed_sidecar: Sidecar, model_process: ModelProcess, trust: MountedTrust
) -> None:
    expired = make_credential(valid_for=-timedelta(hours=1))
    trust.publish(expired)
    await auntil(lambda: _shows(closed_sidecar, expired.expires_at))
    assert await nobody_listens(closed_sidecar.control.port)


async def test_closes_at_the_moment_the_last_certificate_expires(trust: MountedTrust, operator: Credential) -> None:
    trust.publish(operator)
    now = [operator.expires_at - 1]
    door = Door(Identity.make(POD_UID))
    listener = Listener("control", "127.0.0.1", 0, _nothing, LIMITS, door)
    gate = Gate(trust.folder, door, listener, Telemetry(), clock=lambda: now[0])
    gate.apply(read_folder(trust.folder))
    assert await nobody_listens(listener.port) is False
    now[0] = operator.expires_at
    gate.apply(read_folder(trust.folder))
    assert await nobody_listens(listener.port)
    assert door.context is None
    await listener.stop(0)


async def test_a_defect_in_judging_the_trust_closes_it(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr("dormouse_sidecar.gate.read_folder", fails)
        await auntil(lambda: not sidecar.control.is_open)
        assert await nobody_listens(sidecar.control.port)
    await auntil(lambda: sidecar.control.is_open)
    assert (await ask(sidecar.control.port, operator)).status_code == 200


async def _shows(sidecar: Sidecar, expires_at: float) -> bool:
    return await expiry_shown(sidecar) == expires_at


async def _nothing(_: Request) -> Response:
    raise AssertionError("nobody asks")
