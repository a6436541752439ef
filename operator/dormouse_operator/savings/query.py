"""Asks Prometheus for what a ledger is made of: one instant query per figure for the whole range.

`increase()` runs where the samples are, knows counter resets (a restarted model process begins at 0), and
answers one number per replica, so that a week of ten thousand replicas is a few MB. It extrapolates to the ends
of the range by half a scrape interval to one, which is its error.
"""

import asyncio
from collections.abc import Mapping

from dormouse_contract import Residency, metrics
from dormouse_contract.savings.ledger import Figures, Ledger, Replica, ledger
from dormouse_prometheus.api import Prometheus

_Key = tuple[str, str, str]
_BY = "namespace, pod, model"


async def read_ledger(
    prometheus: Prometheus,
    *,
    since: float,
    until: float,
    scrape_interval_seconds: float,
    namespace: str | None = None,
) -> Ledger:
    """Raises PrometheusUnavailable with the reason in words. A range is whole seconds, at least one."""
    seconds = max(1, round(until - since))
    names = queries(seconds, namespace)
    vectors = await asyncio.gather(*(prometheus.query(promql, at=until) for promql in names.values()))
    answers = dict(zip(names, (vector.samples for vector in vectors), strict=True))
    columns = {name: _column(samples) for name, samples in answers.items()}
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


def queries(seconds: int, namespace: str | None) -> dict[str, str]:
    """PromQL by figure. `max` by instance folds two jobs that scrape one pod; `sum` adds a pod's lives."""
    only = [f'namespace="{namespace}"'] if namespace is not None else []

    def series(name: str, *matchers: str) -> str:
        return f"{name}{{{','.join([*only, *matchers])}}}[{seconds}s]"

    def total(expression: str, *labels: str) -> str:
        each = ", ".join([_BY, "instance", *labels])
        return f"sum by ({_BY}) (max by ({each}) ({expression}))"

    def at(tier: Residency) -> str:
        return series(metrics.RESIDENCY.name, f'residency="{tier}"')

    moves = series(metrics.TRANSITIONS.name, 'outcome="ok"')
    before = moves.removesuffix(f"[{seconds}s]")
    kinds = ("from", "to", "trigger")
    return {
        "released": total(f"increase({series(metrics.RELEASED_BYTE_SECONDS.name)})"),
        "transitions": total(f"increase({moves})", *kinds),
        # A kind of transition has no series before its first: what it begins with counts as well.
        "first_transitions": total(f"min_over_time({moves}) unless {before} offset {seconds}s", *kinds),
        **{str(tier): total(f"sum_over_time({at(tier)})") for tier in Residency},
        "waits": total(f"increase({series(f'{metrics.WAKE_WAIT.name}_count')})"),
        "waited": total(f"increase({series(f'{metrics.WAKE_WAIT.name}_sum')})"),
        # The latest counts; timestamps differ only where the label changed within the range.
        "owner": f"topk by ({_BY}) (1, max_over_time(timestamp({metrics.REPLICA_INFO.name}"
        f"{{{','.join(only)}}})[{seconds}s:{_step(seconds)}s]))",
        "device": f"last_over_time({series(metrics.GPU_INFO.name)})",
    }


_FIGURES = ("released", "transitions", "waits", *map(str, Residency))


def _step(seconds: int) -> int:
    """An owner that had a replica for less than a thousandth of the range may be overlooked."""
    return max(1, seconds // 1000)


def _figures(key: _Key, columns: Mapping[str, Mapping[_Key, float]], scrape_interval_seconds: float) -> Figures:
    def one(name: str) -> float:
        return columns[name].get(key, 0.0)

    return Figures(
        released_byte_seconds=one("released"),
        transitions=one("transitions") + one("first_transitions"),
        gpu_seconds=one(str(Residency.GPU)) * scrape_interval_seconds,
        cpu_seconds=one(str(Residency.CPU)) * scrape_interval_seconds,
        unloaded_seconds=one(str(Residency.UNLOADED)) * scrape_interval_seconds,
        waits=one("waits"),
        waited_seconds=one("waited"),
    )


def _key(labels: Mapping[str, str]) -> _Key:
    return labels.get("namespace", ""), labels.get("pod", ""), labels.get("model", "")


def _column(samples: tuple[tuple[Mapping[str, str], float], ...]) -> dict[_Key, float]:
    return {_key(labels): value for labels, value in samples}


def _texts(samples: tuple[tuple[Mapping[str, str], float], ...], label: str) -> dict[_Key, str]:
    return {_key(labels): labels.get(label, "") for labels, _ in samples}
