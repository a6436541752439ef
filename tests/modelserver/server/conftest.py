"""A manager that serves its control socket, and clients of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dormouse_modelserver import ResidencyManager

from tests.modelserver.lifecycle.conftest import Loads

from .serving_process import PROJECT

STAMP = {"owner": "uid-1", "generation": 5, "issuer": "lease-1", "term": 2}


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DORMOUSE_SOCKET", "DORMOUSE_PANEL_TOKEN", "DORMOUSE_DEVICE", "PORT", "GPU_IDLE_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project folder."""
    (tmp_path / "studio.py").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "model.sock"


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def manager(socket_path: Path, loads: Loads) -> Iterator[ResidencyManager]:
    manager = ResidencyManager("sim:1MiB", socket=str(socket_path))
    manager.register("tts", load=loads)
    yield manager
    loads.may_go_on.set()
    manager.close()


@pytest.fixture
async def control(manager: ResidencyManager, socket_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """What the sidecar does: HTTP over the real unix socket."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://model", timeout=20) as client:
        yield client


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Clients of an app in this process."""
    clients: list[httpx.AsyncClient] = []

    def client_of(app: Any, base_url: str = "http://127.0.0.1:7860", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app)
        clients.append(httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers))
        return clients[-1]

    yield client_of
    for client in clients:
        await client.aclose()
