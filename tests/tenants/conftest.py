"""One town for all of these tests: what one attack leaves behind is part of what the next one meets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .town import Town


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The bad one's servers are left in the middle of everything, handshakes too. What asyncio says of their sockets is
    about the test's own process, and comes in whichever test runs when they are collected."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="package")
def town() -> Iterator[Town]:
    with Town() as made:
        yield made
