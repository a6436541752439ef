"""Small pieces of Markdown that GitHub and the site's generator read alike."""

from collections.abc import Iterable, Iterator, Sequence

NOTE = "<!-- Generated: `make generate` writes it anew. -->"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "| " + " | ".join("---" for _ in header) + " |"
    for row in rows:
        # A pipe in a table means two things to the two readers, so what has one belongs beside the table.
        assert not any("|" in cell for cell in row), row  # noqa: S101
        yield "| " + " | ".join(" ".join(cell.split()) or "–" for cell in row) + " |"


def code(text: object) -> str:
    return f"`{text}`"


def between(page: str, name: str, lines: Iterable[str]) -> str:
    """The page with what stands between the marks of this name replaced."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no marks {begin} … {end}")
    return "\n".join([before + begin, "", *lines, "", end]) + after
