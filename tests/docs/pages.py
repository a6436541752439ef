"""Reads the pages under `docs/` as a reader does: tables by their columns, links by where they lead."""

import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def read(page: str) -> str:
    return (DOCS / page).read_text()


def rows(text: str, *columns: str) -> Iterator[dict[str, str]]:
    """The rows of each table in the text that begins with these columns; cells as they are written."""
    header: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells
        elif header[: len(columns)] == list(columns) and not set(line) <= set("|- "):
            yield dict(zip(header, cells, strict=True))


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def without_code(text: str) -> str:
    """A pattern in backticks may look like a link."""
    return re.sub(r"`[^`\n]+`", "``", text)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
