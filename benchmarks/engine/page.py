"""The generated part of docs/benchmarks.md: between two markers, so that what people wrote around it stays."""

from collections.abc import Sequence
from pathlib import Path

from .machine import Machine
from .report import LAYOUTS, Layout, sentence, verdicts
from .running import Outcome
from .targets import Figures


def write_section(page: Path, name: str, machine: Machine, outcome: Outcome, more: tuple[str, ...] = ()) -> None:
    """Raises `ValueError` when the page has no markers of that name."""
    page.write_text(replaced(page.read_text(), name, section(machine, outcome, more)))


def replaced(text: str, name: str, body: str) -> str:
    """`text` with `body` between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no lines '{begin}' and '{end}'; put them where the table shall be")
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def section(machine: Machine, outcome: Outcome, more: tuple[str, ...] = ()) -> str:
    """Machine, table, and what was missed or left out."""
    judged = verdicts(outcome.figures)
    missed = [verdict for verdict in judged if not verdict.met]
    lines = [
        f"Measured on {machine.date[:10]}: {machine.device_name}; {machine.cpu}, {machine.cores} cores, "
        f"{machine.memory_bytes / 2**30:.0f} GiB; torch {machine.torch}, Python {machine.python}; "
        f"load average {machine.load_average:.1f} at the start.",
        "",
        *(line for layout in LAYOUTS for line in _table(layout, outcome.figures)),
        f"Targets: {len(judged) - len(missed)} of {len(judged)} met.",
        # Not every reader of Markdown begins a list without an empty line before it.
        *([""] if missed or outcome.skipped else []),
        *(f"- {sentence(verdict)}" for verdict in missed),
        *(f"- {case}: not measured, it {reason}" for case, reason in outcome.skipped.items()),
        *more,
    ]
    return "\n".join(lines)


def _table(layout: Layout, figures: Sequence[Figures]) -> list[str]:
    ruler = ["---", *["---:"] * (len(layout.columns) - 1)]
    rows = [layout.headings, ruler, *layout.rows(figures)]
    return [f"**{layout.title}**", "", *("| " + " | ".join(row) + " |" for row in rows), ""]
