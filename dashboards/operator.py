"""Operator: whether it looks, decides, and is heard."""

from dormouse_contract import metrics
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import cluster_of, frame
from dashboards.queries import operators
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
                f"time() - max({operators(metrics.LAST_RECONCILE)})",
                decimals=0,
            )
        )
        .with_panel(
            number("Leaders", "Operators that act now. 1 of each fleet.", COUNT, f"sum({operators(metrics.LEADER)})")
        )
        .with_panel(number("Operators", "Operators that are scraped.", COUNT, f"count({operators(metrics.LEADER)})"))
        .with_panel(
            number(
                "Without an idle signal",
                "ManagedModels that nothing demotes, since what is known of a replica is not fresh.",
                COUNT,
                f"sum(max by (namespace, name) ({operators(metrics.IDLE_SIGNAL_MISSING)})) or vector(0)",
            )
        )
        .with_panel(
            number(
                "Certificate ends in",
                "Of the operator's certificate. It is renewed long before.",
                SECONDS,
                f"max({operators(metrics.CERTIFICATE_EXPIRY)}) - time()",
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Could be released",
                "What the ManagedModels in Observe mode would take off GPUs now.",
                BYTES,
                f"sum(max by (namespace, name) ({operators(metrics.OBSERVED_RELEASABLE)})) or vector(0)",
            )
        )
    )


def _passes(board: Dashboard) -> Dashboard:
    name = metrics.RECONCILE_DURATION.name
    buckets = f'sum by (le) (rate({name}_bucket{{cluster=~"$cluster"}}[$__rate_interval]))'
    return (
        board.with_row(Row("Passes"))
        .with_panel(
            lines(
                "How long a pass takes",
                "The question to Prometheus included.",
                SECONDS,
                query(f"histogram_quantile(0.5, {buckets})", "median"),
                query(f"histogram_quantile(0.99, {buckets})", "p99"),
            )
        )
        .with_panel(
            lines(
                "Passes per minute",
                "At least one per tick; more while the cluster changes.",
                COUNT,
                query(f'60 * sum by (pod) (rate({name}_count{{cluster=~"$cluster"}}[$__rate_interval]))', "{{pod}}"),
            )
        )
    )


def _orders(board: Dashboard) -> Dashboard:
    def rate(metric: metrics.Metric, by: str) -> str:
        return f"sum by ({by}) (rate({operators(metric)}[$__rate_interval]))"

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
                query(f"max by (residency) ({operators(metrics.MANAGED_MODELS)})", "{{residency}}"),
                stacked=True,
                span=2 * HALF,
            )
        )
        .with_panel(
            rows(
                "Without an idle signal",
                "These stay on the GPU; `kubectl describe` says why.",
                COUNT,
                f"max by (namespace, name) ({operators(metrics.IDLE_SIGNAL_MISSING)}) == 1",
                NAMED | {"Value": "Missing"},
            )
        )
        .with_panel(
            rows(
                "What Observe would release",
                "Bytes that mode Active would take off GPUs now.",
                BYTES,
                f"max by (namespace, name) ({operators(metrics.OBSERVED_RELEASABLE)})",
                NAMED | {"Value": "Bytes"},
            )
        )
    )
