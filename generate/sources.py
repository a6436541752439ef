"""The sources of generated files. Pages with measured figures are none: those come from a run, not from the code."""

from collections.abc import Callable, Iterable
from pathlib import Path

from dashboards.files import generated as dashboards
from dashboards.rules import generated as rules
from docsite.reference import generated as reference
from generate.chart import generated as chart

ROOT = Path(__file__).resolve().parents[1]
Source = Callable[[], dict[Path, str]]

SOURCES: tuple[Source, ...] = (
    chart,
    dashboards,
    reference,
    rules,
)


def generated(sources: Iterable[Source] = SOURCES) -> dict[Path, str]:
    """Each generated file with what it should be. Raises ValueError when two sources claim one file."""
    files: dict[Path, str] = {}
    for source in sources:
        made = source()
        if twice := files.keys() & made.keys():
            raise ValueError(f"two sources make {min(twice)}; one of them would undo what the other wrote")
        files |= made
    return files


def stale(files: dict[Path, str]) -> dict[Path, str]:
    """Those that are missing, or differ from what they should be."""
    return {
        path: text for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
