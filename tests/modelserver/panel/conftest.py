"""A browser per worker, one server for most tests, and pages that must not complain."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.modelserver.server.serving_process import Serving

from .browser import Panel, launched
from .project import written_to

DEVICE = "sim:1MiB"
MODELS = ("tts", "asr", "big")
Visit = Callable[..., Panel]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while it is open, Playwright's event loop counts as running in this thread."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_to(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="package")
def running(project: Path) -> Iterator[Serving]:
    """`serve` on loopback without a token: who reaches it may press the buttons."""
    arguments = ("--app", "panel_project:create_app", "--device", DEVICE, "--idle-timeout", "never")
    with Serving(project, *arguments) as server:
        yield server


@pytest.fixture
def server(running: Serving) -> Serving:
    """The same server with every model unpinned, unchanged and unloaded."""
    for model in MODELS:
        put(running, model, "pin", pinned=False)
        put(running, model, "residency", desired="Unloaded").raise_for_status()
    return running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens the page in a browser of its own; at the end none may have complained."""
    opened: list[Panel] = []

    def visit(server: Serving | str, **context: Any) -> Panel:
        page = browser.new_context(**{"locale": "en-GB", **context}).new_page()
        opened.append(Panel(page))
        url = server if isinstance(server, str) else f"{server.url}/dormouse/"
        return opened[-1].open(url)

    yield visit
    for panel in opened:
        panel.page.context.close()
    assert [problem for panel in opened for problem in panel.problems] == []


def put(server: Serving, model: str, what: str, **body: Any) -> httpx.Response:
    return httpx.put(f"{server.url}/dormouse/v1/models/{model}/{what}", json=body, timeout=20)
