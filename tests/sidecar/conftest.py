"""A sidecar in this process, on free ports, with quick limits, in front of a stand-in model process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dormouse_sidecar import Settings, Sidecar
from dormouse_sidecar.limits import Limits

from tests.waiting import auntil

from .certificates import Credential, make_credential
from .clients import POD_UID
from .model_process import ModelProcess
from .mounted_trust import MountedTrust

LIMITS = Limits(request_seconds=1.0, goodbye_seconds=0.5, max_connections=8, max_connections_per_peer=4)


@pytest.fixture(scope="session")
def operator() -> Credential:
    return make_credential("operator")


@pytest.fixture
def trust(tmp_path: Path) -> MountedTrust:
    return MountedTrust(tmp_path / "trust")


@pytest.fixture
def settings(tmp_path: Path, trust: MountedTrust) -> Settings:
    return Settings(
        pod_uid=POD_UID,
        socket_path=tmp_path / "model.sock",
        trust_dir=trust.folder,
        control_host="127.0.0.1",
        control_port=0,
        plain_host="127.0.0.1",
        plain_port=0,
        trust_poll_seconds=0.02,
        limits=LIMITS,
    )


@pytest.fixture
async def model_process(settings: Settings) -> AsyncIterator[ModelProcess]:
    process = ModelProcess(settings.socket_path)
    async with process.running():
        yield process


@pytest.fixture
async def closed_sidecar(settings: Settings) -> AsyncIterator[Sidecar]:
    """Without any trust yet."""
    async with Sidecar(settings) as sidecar:
        yield sidecar


@pytest.fixture
async def sidecar(closed_sidecar: Sidecar, trust: MountedTrust, operator: Credential) -> Sidecar:
    """One that trusts the operator."""
    trust.publish(operator)
    await auntil(lambda: closed_sidecar.control.is_open)
    return closed_sidecar
