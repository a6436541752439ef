"""What sleeping saved, and what it cost in waiting: figures that the replicas measured, added up.

The operator keeps no truth of its own: the replicas count, Prometheus remembers, and a ledger is made of that
whenever someone asks. So nothing is lost with an operator or a pod, and nothing is here that nobody measured.

Money is an upper bound and says so: Kubernetes keeps a GPU allocated to its pod for the pod's life, so released
memory is worth its price only where something else on the same GPU used it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields

from ..quantity import as_quantity
from ..residency import Residency

SECONDS_PER_HOUR = 3600.0
UNMANAGED = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over one period. `*_seconds` of residency are replica-seconds: two replicas count twice.

    transitions: those that succeeded. waits: requests that had to wait for a wake; waited_seconds: all their waits.
    """

    released_byte_seconds: float = 0.0
    transitions: float = 0.0
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    unloaded_seconds: float = 0.0
    waits: float = 0.0
    waited_seconds: float = 0.0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Figures)))


@dataclass(frozen=True, slots=True)
class Replica:
    """One model of one pod. `owner`: the ManagedModel that had it last; empty when none did."""

    namespace: str
    pod: str
    model: str
    figures: Figures
    owner: str = UNMANAGED
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """Of one GPU, and how much memory it has: `per_gpu_hour` in whatever money the user thinks in."""

    per_gpu_hour: float
    gpu_bytes: float

    def at_most(self, released_byte_seconds: float) -> float:
        """As if each released byte had been sold for its share of the GPU: an upper bound, never more."""
        return released_byte_seconds / self.gpu_bytes / SECONDS_PER_HOUR * self.per_gpu_hour


@dataclass(frozen=True, slots=True)
class Line:
    """`name` is a ManagedModel's, empty for replicas of a namespace that none manages, or for a total."""

    namespace: str
    name: str
    replicas: int
    simulated: bool
    figures: Figures


@dataclass(frozen=True, slots=True)
class Ledger:
    """models, namespaces and fleet over [since, until], Unix seconds; most released first.

    Simulated replicas have lines of their own and are left out of the totals unless everything is simulated,
    which `fleet.simulated` then says.
    """

    since: float
    until: float
    models: tuple[Line, ...] = ()
    namespaces: tuple[Line, ...] = ()
    fleet: Line = field(default_factory=lambda: Line("", "", 0, False, Figures()))

    def as_json(self, price: Price | None = None) -> dict[str, object]:
        """For machines; `atMostMoney` is there only with a price."""
        return {
            "since": self.since,
            "until": self.until,
            "models": [_as_json(line, price) for line in self.models],
            "namespaces": [_as_json(line, price) for line in self.namespaces],
            "fleet": _as_json(self.fleet, price),
        }


def ledger(replicas: Iterable[Replica], since: float, until: float) -> Ledger:
    everything = list(replicas)
    real = [each for each in everything if not each.simulated]
    counted = real or everything
    return Ledger(
        since,
        until,
        models=_lines(everything, lambda each: (each.namespace, each.owner, each.simulated)),
        namespaces=_lines(counted, lambda each: (each.namespace, "", each.simulated)),
        fleet=_line(("", "", bool(counted) and not real), counted),
    )


_Group = tuple[str, str, bool]


def _lines(replicas: Iterable[Replica], group_of: Callable[[Replica], _Group]) -> tuple[Line, ...]:
    groups: defaultdict[_Group, list[Replica]] = defaultdict(list)
    for each in replicas:
        groups[group_of(each)].append(each)
    lines = [_line(group, members) for group, members in groups.items()]
    return tuple(
        sorted(lines, key=lambda line: (line.simulated, -line.figures.released_byte_seconds, line.namespace, line.name))
    )


def _line(group: _Group, members: list[Replica]) -> Line:
    return Line(*group[:2], len(members), group[2], sum((each.figures for each in members), Figures()))


def _as_json(line: Line, price: Price | None) -> dict[str, object]:
    figures = line.figures
    told: dict[str, object] = {
        "namespace": line.namespace,
        "name": line.name,
        "replicas": line.replicas,
        "simulated": line.simulated,
        "releasedByteSeconds": figures.released_byte_seconds,
        "transitions": round(figures.transitions),
        "residencySeconds": {
            Residency.GPU: figures.gpu_seconds,
            Residency.CPU: figures.cpu_seconds,
            Residency.UNLOADED: figures.unloaded_seconds,
        },
        "waits": round(figures.waits),
        "waitedSeconds": figures.waited_seconds,
    }
    if price is not None and not line.simulated:
        told["atMostMoney"] = price.at_most(figures.released_byte_seconds)
    return told


def as_table(book: Ledger, price: Price | None = None) -> str:
    """For people. Each line is a ManagedModel; below them the namespaces and the fleet."""
    header = ("NAMESPACE", "NAME", "REPLICAS", "RELEASED", "MOVES", "GPU", "CPU", "UNLOADED", "WAITS", "WAITED")
    money = ("AT MOST",) if price is not None else ()
    rows = [(*header, *money)]
    rows += [_row(line, line.name or "(not managed)", price) for line in book.models]
    rows += [_row(line, "(all)", price) for line in book.namespaces]
    rows.append(_row(book.fleet, "(fleet)", price))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_notes(book, price)])


def _row(line: Line, name: str, price: Price | None) -> tuple[str, ...]:
    figures = line.figures
    cells = (
        line.namespace or "-",
        f"{name} [sim]" if line.simulated else name,
        str(line.replicas),
        f"{as_quantity(figures.released_byte_seconds / SECONDS_PER_HOUR)}·h",
        str(round(figures.transitions)),
        _hours(figures.gpu_seconds),
        _hours(figures.cpu_seconds),
        _hours(figures.unloaded_seconds),
        str(round(figures.waits)),
        f"{figures.waited_seconds:.1f}s",
    )
    if price is None:
        return cells
    return (*cells, "-" if line.simulated else f"{price.at_most(figures.released_byte_seconds):.2f}")


def _hours(seconds: float) -> str:
    return f"{seconds / SECONDS_PER_HOUR:.1f}h" if seconds >= SECONDS_PER_HOUR else f"{seconds:.0f}s"


def _notes(book: Ledger, price: Price | None) -> list[str]:
    notes = ["RELEASED is measured by the replicas. The GPU stays allocated to the pod: what it released is of use to"]
    notes.append("other processes on the same GPU.")
    if price is not None:
        notes.append(
            f"AT MOST: {price.per_gpu_hour:g} per hour for a GPU of {as_quantity(price.gpu_bytes)}, as if every "
            "released byte had been put to use."
        )
    if book.fleet.simulated:
        notes.append("Every replica is simulated: no GPU memory was really released.")
    elif any(line.simulated for line in book.models):
        notes.append("Lines with [sim] are simulated devices and are left out of the totals.")
    return notes
