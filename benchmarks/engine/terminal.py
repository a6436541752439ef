"""What one sees while it runs and at the end."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .cases import Case
from .machine import Machine
from .report import LAYOUTS, sentence, verdicts
from .running import Outcome, Run

_REASONABLE_LOAD = 0.5


def run_with_progress(console: Console, run: Run, cases: Sequence[Case]) -> Outcome:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(cases))
        current = ""

        def begin(case: Case) -> None:
            nonlocal current
            current = case.name
            progress.update(task, completed=cases.index(case), description=current)

        outcome = run.all(cases, begin, lambda step: progress.update(task, description=f"{current}: {step}"))
        progress.update(task, completed=len(cases), description="done")
    return outcome


def show(console: Console, machine: Machine, outcome: Outcome) -> None:
    console.print(f"{machine.device_name}; {machine.cpu}, {machine.cores} cores", highlight=False)
    for layout in LAYOUTS:
        table = Table(title=layout.title)
        for number, heading in enumerate(layout.headings):
            table.add_column(heading, justify="right" if number else "left", no_wrap=not number)
        for row in layout.rows(outcome.figures):
            table.add_row(*row)
        console.print(table)
    for verdict in verdicts(outcome.figures):
        console.print(sentence(verdict), style="green" if verdict.met else "bold red", highlight=False)
    for case, reason in outcome.skipped.items():
        console.print(f"SKIPPED {case}: it {reason}", style="bold red", highlight=False)
    if machine.load_average > _REASONABLE_LOAD * machine.cores:
        console.print(
            f"The machine was busy (load average {machine.load_average:.1f} on {machine.cores} cores): "
            "durations that need all cores, above all the check, are longer than they would be.",
            style="yellow",
        )
