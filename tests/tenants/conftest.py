"""One town for all of these tests: what one attack leaves behind is part of what the next one meets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .town import Town


@pytest.fixture(scope="package")
def town() -> Iterator[Town]:
    with Town() as made:
        yield made
