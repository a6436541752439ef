"""From the answers to `promql.savings.queries` to a ledger. Pure; what can't be a figure is left out."""

from collections.abc import Iterable, Mapping

from ..residency import Residency
from .ledger import Figures, Ledger, Replica, ledger

Samples = Iterable[tuple[Mapping[str, str], float]]
_Key = tuple[str, str, str]
_FIGURES = ("released", "transitions", "waits", *map(str, Residency))
# A thousand years of a million GPUs are less; and sums of what is below stay finite.
MOST = 1e30


def read_ledger(
    answers: Mapping[str, Samples], *, since: float, until: float, scrape_interval_seconds: float
) -> Ledger:
    columns = {name: _column(answers[name]) for name in (*_FIGURES, "waited")}
    owners = _texts(answers["owner"], "name")
    devices = _texts(answers["device"], "device")
    keys = set().union(*(columns[name].keys() for name in _FIGURES))
    return ledger(
        [
            Replica(
                *key,
                _figures(key, columns, scrape_interval_seconds),
                owner=owners.get(key, ""),
                simulated=devices.get(key, "").startswith("sim"),
            )
            for key in sorted(keys)
        ],
        since,
        until,
    )


def _figures(key: _Key, columns: Mapping[str, Mapping[_Key, float]], scrape_interval_seconds: float) -> Figures:
    def one(name: str) -> float:
        return columns[name].get(key, 0.0)

    return Figures(
        released_byte_seconds=one("released"),
        transitions=one("transitions"),
        gpu_seconds=one(str(Residency.GPU)) * scrape_interval_seconds,
        cpu_seconds=one(str(Residency.CPU)) * scrape_interval_seconds,
        unloaded_seconds=one(str(Residency.UNLOADED)) * scrape_interval_seconds,
        waits=one("waits"),
        waited_seconds=one("waited"),
    )


def _key(labels: Mapping[str, str]) -> _Key:
    return labels.get("namespace", ""), labels.get("pod", ""), labels.get("model", "")


def _column(samples: Samples) -> dict[_Key, float]:
    return {_key(labels): value for labels, value in samples if 0 <= value <= MOST}


def _texts(samples: Samples, label: str) -> dict[_Key, str]:
    return {_key(labels): labels.get(label, "") for labels, _ in samples}
