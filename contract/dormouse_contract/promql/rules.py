"""The recording rules: names that are `level:metric:operations`, and what they are made of.

The three levels of memory add up. Without a label `cluster` on the series, a rule's series has none either.
"""

from dataclasses import dataclass

from .. import metrics
from . import memory, replicas, use, waiting
from .replicas import REPLICA
from .selection import EVERYTHING

HOUR = "1h"
COUNTED = "namespace_pod_model:dormouse_counted:group"
BUCKETS = f"namespace_model_le:dormouse_wake_wait_seconds_bucket:increase{HOUR}"


@dataclass(frozen=True, slots=True)
class Rule:
    """`record` names the result of `expression`. `why` is for who reads the rules."""

    record: str
    expression: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rules: tuple[Rule, ...]


def groups() -> tuple[Group, ...]:
    return (
        Group(
            "dormouse.replicas",
            (
                Rule(
                    COUNTED,
                    f"group by ({REPLICA}) {replicas.in_sums(EVERYTHING)}",
                    "Replicas that are in the sums: not the simulated ones, unless every replica is (a demo, a test).",
                ),
            ),
        ),
        Group(
            "dormouse.memory",
            (
                *_levels("released_bytes:sum", _now(metrics.RELEASED), "Measured as given back and still away."),
                *_levels(
                    "held_bytes:sum",
                    _now(metrics.GPU_MEMORY),
                    "What the weights hold on the device; held + released is what they would hold without Dormouse.",
                ),
                Rule(
                    "namespace_model:dormouse_gpu_memory_residual_bytes:sum",
                    _now(metrics.RESIDUAL),
                    "What stayed on the device after a release, against expectation.",
                ),
                *_levels(
                    f"released_byte_hours:increase{HOUR}",
                    f"{memory.saved(EVERYTHING, HOUR, 'namespace, model')} / 3600",
                    "Saved in the last hour, from the counter that the replicas integrate: exact between scrapes.",
                ),
            ),
        ),
        Group(
            "dormouse.use",
            (
                Rule(
                    "namespace_model:dormouse_idle_replicas:ratio",
                    use.share_idle(EVERYTHING, "namespace, model"),
                    "The share of replicas with no request in flight.",
                ),
                Rule("fleet:dormouse_idle_replicas:ratio", use.share_idle(EVERYTHING)),
                Rule(
                    "fleet:dormouse_asleep_replicas:ratio",
                    use.share_asleep(EVERYTHING),
                    "The share of replicas whose weights are not on the device.",
                ),
            ),
        ),
        Group(
            "dormouse.wakes",
            (
                Rule(
                    f"namespace_model_trigger:dormouse_wakes:increase{HOUR}",
                    waiting.wakes(EVERYTHING, HOUR, "namespace", "model", "trigger"),
                    "A counter that appears with its first event has no increase yet: what it begins with counts too.",
                ),
                Rule(BUCKETS, waiting.wait_buckets(EVERYTHING, HOUR, "namespace", "model")),
                *_quantiles("namespace_model", BUCKETS),
                *_quantiles("fleet", f"sum by (le) ({BUCKETS})"),
            ),
        ),
    )


def _now(metric: metrics.Metric) -> str:
    figure = replicas.now(EVERYTHING.series(metric))
    return f"sum by (namespace, model) ({figure} and on ({REPLICA}) {COUNTED})"


def _levels(figure: str, by_model: str, why: str) -> tuple[Rule, ...]:
    def name(level: str) -> str:
        return f"{level}:dormouse_gpu_memory_{figure}"

    return (
        Rule(name("namespace_model"), by_model, why),
        Rule(name("namespace"), f"sum by (namespace) ({name('namespace_model')})"),
        Rule(name("fleet"), f"sum({name('namespace_model')})"),
    )


def _quantiles(level: str, buckets: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            f"{level}:dormouse_wake_wait_seconds:p{round(quantile * 100)}_{HOUR}",
            f"histogram_quantile({quantile:g}, {buckets})",
        )
        for quantile in (0.5, 0.95, 0.99)
    )
