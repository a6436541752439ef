"""Tables and sentences for a terminal. Pure: the same text in a pipe, with colours only where someone looks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dormouse_contract import Mode
from dormouse_contract.managed_model import (
    AUTO,
    IDLE_SIGNAL_AVAILABLE,
    READY,
    REPLICAS_REACHABLE,
    ManagedModel,
    managed_model,
)
from dormouse_contract.printable import printable

from ..managed import COLUMNS as ROW
from ..managed import override, row
from .moments import age

SIGNS = {"GPU": "🟢", "CPU": "🟡", "Unloaded": "⚪"}
_MODES = {"Paused": "Paused: nothing is ordered", "Observe": "Observe: explains and orders nothing"}
MAX_CELL_CHARACTERS, MAX_LINE_CHARACTERS = 256, 2048
_COLOURS = {"GPU": "32", "CPU": "33", "False": "31"}
Object = Mapping[str, Any]


def table(rows: Sequence[Sequence[str]], colours: bool = False) -> str:
    """Aligned columns; a cell that is a residency or False is coloured whole. Others may have chosen its words."""
    rows = [[printable(cell, MAX_CELL_CHARACTERS) for cell in line] for line in rows]
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(_painted(cell, width, colours) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in rows
    )


def top(models: Sequence[Object], now: float, with_namespace: bool, colours: bool) -> str:
    heads = ("NAME", "RESIDENCY", "DESIRED", "READY", "REASON", "MODE", "ON GPU", "RELEASED", "LAST MOVE")
    lines = [heads if not with_namespace else ("NAMESPACE", *heads)]
    for body in models:
        seen = dict(zip(ROW, row(managed_model(body)), strict=True))
        moved = "-"
        if seen["movedAt"] is not None:
            moved = f"{seen['movedTo'] or '?'} {age(now - seen['movedAt'])} ago ({seen['trigger'] or 'unknown'})"
        cells = (
            seen["name"],
            seen["residency"],
            _desired(seen, now),
            seen["ready"],
            seen["reason"] or "NotSeenYet",
            seen["mode"],
            f"{seen['gpu']}/{seen['total']}",
            seen["released"] or "-",
            moved,
        )
        lines.append(cells if not with_namespace else (seen["namespace"], *cells))
    return table(lines, colours)


def _desired(seen: Mapping[str, Any], now: float) -> str:
    desired = seen["desired"] or "-"
    if seen["override"] == "Auto" or (seen["overrideUntil"] is not None and seen["overrideUntil"] <= now):
        return desired
    return f"{desired} (by hand)"


def explained(body: Object, replicas: Sequence[Mapping[str, Any]] | str, now: float) -> str:
    """Why it is where it is. `replicas` as `replicas.as_json` gives them, or why there are none to show."""
    managed = managed_model(body)
    seen, status = dict(zip(ROW, row(managed), strict=True)), managed.status
    said = [f"{seen['namespace']}/{seen['name']}: {SIGNS.get(seen['residency'], '?')} {seen['residency']}"]
    if status.observed_generation is None:
        return _shown([*said, "The operator has not seen this ManagedModel yet. Is it running?"])
    said.append(f"  should be   {_desired(seen, now)}; {seen['gpu']} of {seen['total']} replicas on the GPU")
    if status.observed_generation != managed.generation:
        said.append("  note        the operator has not seen the last change of the spec yet")
    moved = status.last_transition
    if moved is not None:
        when = "at some time" if moved.unix_seconds is None else f"{age(now - moved.unix_seconds)} ago"
        said.append(f"  last move   {moved.from_ or '?'} → {moved.to or '?'} {when} ({moved.trigger or 'unknown'})")
        said.append(f"              {moved.message}".rstrip())
    said += [f"  {'policy' if not at else '':<10}  {line}" for at, line in enumerate(policy(managed, now))]
    said += [f"  problem     {problem.message}" for problem in managed.problems]
    said.append("  conditions")
    for kind in (READY, IDLE_SIGNAL_AVAILABLE, REPLICAS_REACHABLE):
        found = status.condition(kind)
        if found is not None:
            said.append(f"    {kind}={found.status} ({found.reason}): {found.message}")
    said.append("  now")
    if isinstance(replicas, str):
        return _shown([*said, f"    {replicas}"])
    for replica in replicas:
        said.append(
            f"    {replica['pod']} {replica['model']}: {replica['residency'] or 'unknown'}; {replica['decision']}"
        )
        if replica["nextLookAt"] is not None and replica["nextLookAt"] > now:
            said.append(f"      the next step may come in {age(replica['nextLookAt'] - now)}")
    return _shown(said)


def policy(model: ManagedModel, now: float) -> list[str]:
    """What it asks for, a sentence each; what overrides it first."""
    asked, wording, said = model.policy, model.wording, []
    if asked.mode is not Mode.ACTIVE:
        said.append(_MODES.get(wording.mode, wording.mode))
    held, until = override(model), asked.residency_until
    if held != AUTO and (until is None or until > now):
        said.append(f"by hand {held}, " + ("until somebody clears it" if until is None else f"{age(until - now)} more"))
    offload, unload = asked.offload_after_seconds, asked.unload_after_seconds
    if offload is None and unload is None:
        said.append("idleness never moves it")
    if offload == 0:
        said.append("off the GPU as soon as a request ends")
    elif offload is not None:
        said.append(f"off the GPU, into host RAM, after {age(offload)} without a request")
    if unload is not None:
        said.append(f"out of host RAM as well after {age(unload)}")
    if offload != 0 and (offload is not None or unload is not None):
        said.append(f"on the GPU for {age(asked.min_resident_seconds)} after a wake")
    said.append(f"a request waits {age(asked.wake_budget_seconds)} at most for a wake")
    said += [
        f"at least {window.residency} for {age(window.duration_seconds)} from each “{window.cron}” ({window.time_zone})"
        for window in wording.schedule
    ]
    return said


def _shown(lines: Iterable[str]) -> str:
    return "\n".join(printable(line, MAX_LINE_CHARACTERS) for line in lines)


def _painted(cell: str, width: int, colours: bool) -> str:
    padded = cell.ljust(width)
    code = _COLOURS.get(cell) if colours else None
    return padded if code is None else f"\x1b[{code}m{padded}\x1b[0m"
