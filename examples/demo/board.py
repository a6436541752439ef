"""The live table: models, residency, idle time, memory, and what was saved in all."""

from __future__ import annotations

from dormouse_contract import Residency
from dormouse_contract.wire import ModelSnapshot
from rich.console import Group
from rich.table import Table
from rich.text import Text

from examples.demo.traffic import Answers

LIGHTS = {Residency.GPU: "🟢 GPU", Residency.CPU: "🟡 CPU", Residency.UNLOADED: "⚪ Unloaded"}


def board(
    snapshots: dict[str, ModelSnapshot],
    policies: dict[str, str],
    answers: Answers,
    saved_byte_seconds: float,
    device: str,
) -> Group:
    table = Table(title=f"Dormouse on {device}", title_justify="left", expand=False)
    for column in ("Model server", "Weights", "Sleeps after"):
        table.add_column(column)
    for column in ("In flight", "Idle", "On device", "In host RAM", "Released"):
        table.add_column(column, justify="right")
    for name, snapshot in sorted(snapshots.items()):
        moving = snapshot.transition
        where = LIGHTS[snapshot.residency] + (f" → {moving.to}" if moving is not None else "")
        table.add_row(
            name,
            where,
            policies.get(name, ""),
            str(snapshot.in_flight + snapshot.waiting),
            f"{snapshot.idle_seconds:.0f} s",
            _mib(snapshot.gpu_memory_bytes),
            _mib(snapshot.host_memory_bytes),
            _mib(snapshot.gpu_memory_released_bytes),
        )
    totals = Text.assemble(
        ("Saved so far: ", "bold"),
        f"{saved_byte_seconds / 2**30:.2f} GiB·s of device memory    ",
        ("Requests: ", "bold"),
        f"{answers.ok} ok, ",
        (f"{answers.failed} failed", "bold red" if answers.failed else "green"),
    )
    return Group(table, totals)


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.0f} MiB" if nbytes else "–"
