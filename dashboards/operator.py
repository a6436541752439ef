"""Operator: whether it looks, decides, and is heard."""

from dormouse_contract import metrics
from dormouse_contract.promql import operators
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import cluster_of, frame
from dashboards.queries import CLUSTER, RATE
from dashboards.style import BYTES, COUNT, HALF, SECONDS, lines, number, query, rows

NAMED = {"namespace": "Namespace", "name": "ManagedModel", "Value": "Value"}


def operator() -> Dashboard:
    board = frame(
        "operator", "Operator", "The loop: passes over the fleet, orders, Prometheus and the API server."
    ).with_variable(cluster_of(metrics.LAST_RECONCILE))
    return _objects(_orders(_passes(_now(board))))


def _now(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Now"))
        .with_panel(
            number(
                "Last pass",
                "Since the last completed pass over the fleet. The one figure to watch: with an old one everything "
                "else may look well while nothing is done.",
                SECONDS,
                operators.seconds_since_last_pass(CLUSTER),
                decimals=0,
            )
        )
        .with_panel(number("Leaders", "Operators that act now. 1 of each fleet.", COUNT, operators.leaders(CLUSTER)))
        .with_panel(number("Operators", "Operators that are scraped.", COUNT, operators.count(CLUSTER)))
        .with_panel(
            number(
                "Without an idle signal",
                "ManagedModels that nothing demotes, since what is known of a replica is not fresh.",
                COUNT,
                operators.total(metrics.IDLE_SIGNAL_MISSING, CLUSTER),
            )
        )
        .with_panel(
            number(
                "Certificate ends in",
                "Of the operator's certificate. It is renewed long before.",
                SECONDS,
                operators.certificate_seconds_left(CLUSTER),
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Could be released",
                "What the ManagedModels in Observe mode would take off GPUs now.",
                BYTES,
                operators.total(metrics.OBSERVED_RELEASABLE, CLUSTER),
            )
        )
    )


def _passes(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Passes"))
        .with_panel(
            lines(
                "How long a pass takes",
                "The question to Prometheus included.",
                SECONDS,
                query(operators.pass_seconds(0.5, CLUSTER, RATE), "median"),
                query(operators.pass_seconds(0.99, CLUSTER, RATE), "p99"),
            )
        )
        .with_panel(
            lines(
                "Passes per minute",
                "At least one per tick; more while the cluster changes.",
                COUNT,
                query(operators.passes_per_minute(CLUSTER, RATE), "{{pod}}"),
            )
        )
    )


def _orders(board: Dashboard) -> Dashboard:
    def rate(metric: metrics.Metric, by: str) -> str:
        return operators.per_second(metric, by, CLUSTER, RATE)

    return (
        board.with_row(Row("Who hears it"))
        .with_panel(
            lines(
                "Orders per second",
                "By what became of them. in_use is normal: the replica was used a moment ago.",
                "ops",
                query(rate(metrics.ORDERS, "outcome"), "{{outcome}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Looks through Prometheus per second",
                "Failed ones hold everything where it is.",
                "ops",
                query(rate(metrics.PROMETHEUS_QUERIES, "outcome"), "{{outcome}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Requests to the API server per second",
                "Watches apart. An unchanged fleet makes none but the Lease's.",
                "ops",
                query(rate(metrics.API_REQUESTS, "verb, outcome"), "{{verb}} {{outcome}}"),
                stacked=True,
                span=2 * HALF,
            )
        )
    )


def _objects(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("ManagedModels"))
        .with_panel(
            lines(
                "By residency",
                "As their status says.",
                COUNT,
                query(operators.by_residency(CLUSTER), "{{residency}}"),
                stacked=True,
                span=2 * HALF,
            )
        )
        .with_panel(
            rows(
                "Without an idle signal",
                "These stay on the GPU; `kubectl describe` says why.",
                COUNT,
                f"{operators.per_managed_model(metrics.IDLE_SIGNAL_MISSING, CLUSTER)} == 1",
                NAMED | {"Value": "Missing"},
            )
        )
        .with_panel(
            rows(
                "What Observe would release",
                "Bytes that mode Active would take off GPUs now.",
                BYTES,
                operators.per_managed_model(metrics.OBSERVED_RELEASABLE, CLUSTER),
                NAMED | {"Value": "Bytes"},
            )
        )
    )
