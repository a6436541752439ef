"""Model: where one model's weights were, what moved them, who waited, and the memory before and after."""

from dormouse_contract import metrics
from dormouse_contract.promql import memory, replicas, use, waiting
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import Transitions, cluster_of, frame, model_name, namespace
from dashboards.queries import PODS, RANGE, RATE, SAVED_GIB_HOURS, wait_quantile
from dashboards.style import (
    BYTES,
    COUNT,
    GIB_HOURS,
    HALF,
    SECONDS,
    lines,
    number,
    query,
    residencies,
    rows,
)

REPLICAS = "{{namespace}}/{{pod}} {{model}}"
TIERS = use.tiers(PODS)


def model() -> Dashboard:
    board = (
        frame("model", "Model", "One model: its timeline, its requests, its memory.")
        .with_variable(cluster_of(metrics.RESIDENCY))
        .with_variable(namespace())
        .with_variable(model_name())
        .annotation(Transitions())
    )
    return _memory(_transitions(_requests(_timeline(board))))


def _timeline(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Where the weights are"))
        .with_panel(residencies("Residency", "Of each replica; the marks are transitions.", query(TIERS, REPLICAS)))
        .with_panel(number("Saved", "GPU memory × time in the chosen range.", GIB_HOURS, SAVED_GIB_HOURS, decimals=2))
        .with_panel(
            number(
                "Idle for",
                "Of the replica that was used last; 0 while a request is in flight, and nothing where the operator "
                "would not believe the figures.",
                SECONDS,
                use.idle_for(PODS),
            )
        )
        .with_panel(
            number(
                "A wake would take",
                "The slowest replica's own estimate, from its last measured load and restore; empty until measured.",
                SECONDS,
                use.slowest_wake(PODS),
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Process up",
                "Model processes that answer their sidecar, in these namespaces.",
                COUNT,
                use.processes_up(PODS),
            )
        )
    )


def _requests(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Requests"))
        .with_panel(
            lines(
                "Requests per second",
                "Uses of the model by how they ended. timeout and rejected were answered 503.",
                "reqps",
                query(waiting.requests_per_second(PODS, RATE), "{{outcome}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "In flight and waiting",
                "Uses that run now, and requests that wait for the model to wake.",
                COUNT,
                query(f"sum({replicas.now(PODS.series(metrics.IN_FLIGHT))})", "in flight"),
                query(f"sum({replicas.now(PODS.series(metrics.HELD_REQUESTS))})", "waiting"),
            )
        )
        .with_panel(
            number(
                "Waited, median",
                "Seconds that a request waited for a wake.",
                SECONDS,
                wait_quantile(0.5),
            )
        )
        .with_panel(
            number(
                "Waited, p95",
                "Seconds that a request waited for a wake.",
                SECONDS,
                wait_quantile(0.95),
            )
        )
        .with_panel(
            number(
                "Waited, p99",
                "Seconds that a request waited for a wake.",
                SECONDS,
                wait_quantile(0.99),
            )
        )
    )


def _transitions(board: Dashboard) -> Dashboard:
    moves = waiting.moves(PODS, RANGE, "from", "to", "trigger", "outcome")
    return (
        board.with_row(Row("Transitions"))
        .with_panel(
            rows(
                "Why it moved",
                "Transitions in the chosen range by their cause. Refused means that nothing moved.",
                COUNT,
                f"round({moves}) > 0",
                {"from": "From", "to": "To", "trigger": "Trigger", "outcome": "Outcome", "Value": "Times"},
            )
        )
        .with_panel(
            lines(
                "How long a move takes",
                "The mean over the lives of the processes.",
                SECONDS,
                query(waiting.mean_move_seconds(PODS), "{{from}} → {{to}}"),
            )
        )
    )


def _memory(board: Dashboard) -> Dashboard:
    def total(metric: metrics.Metric) -> str:
        return f"sum({replicas.now(PODS.series(metric))})"

    return (
        board.with_row(Row("Memory"))
        .with_panel(
            lines(
                "On the GPU, released, stayed behind",
                "The first two together stay the same over a transition when all of it was given back.",
                BYTES,
                query(total(metrics.GPU_MEMORY), "on the GPU"),
                query(total(metrics.RELEASED), "released"),
                query(total(metrics.RESIDUAL), "stayed behind"),
            )
        )
        .with_panel(
            lines(
                "In host RAM",
                "The copy that makes offload free and wake fast.",
                BYTES,
                query(replicas.now(PODS.series(metrics.HOST_MEMORY)), REPLICAS),
            )
        )
        .with_panel(
            lines(
                "GPU memory as others count it",
                "Of these processes by the driver and, where NVIDIA's DCGM exporter is scraped, all that is used on "
                "the GPUs that the model is on.",
                BYTES,
                query(memory.of_processes_of_models(PODS), "process {{pod}}"),
                query(memory.of_devices(PODS), "all (DCGM) {{gpu_uuid}}"),
                span=2 * HALF,
            )
        )
    )
