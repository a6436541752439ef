"""Fleet: what was given back, what it cost in waiting, and who is awake."""

from dormouse_contract import metrics
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import cluster_of, frame, model_name, namespace, typed
from dashboards.queries import (
    HELD,
    RELEASED,
    SAVED_GIB_HOURS,
    SIMULATED,
    counted,
    events,
    per_replica,
    pods,
    wait_quantile,
)
from dashboards.style import (
    BYTES,
    COUNT,
    GIB_HOURS,
    HALF,
    SECONDS,
    SHARE,
    THIRD,
    lines,
    number,
    query,
    rows,
    to_model,
)

ON_GPU = pods(metrics.RESIDENCY, 'residency="GPU"')
NOT_LET_IN = pods(metrics.REQUESTS, 'outcome=~"timeout|rejected"')
WAITED = pods(f"{metrics.WAKE_WAIT.name}_count")


def fleet() -> Dashboard:
    return _gpus(_cost(_who(_over_time(_now(_frame())))))


def _frame() -> Dashboard:
    return (
        frame("fleet", "Fleet", "GPU memory that idle models gave back, as the replicas measured it.")
        .with_variable(cluster_of(metrics.RESIDENCY))
        .with_variable(namespace())
        .with_variable(model_name())
        .with_variable(
            typed("price", "Price per GPU hour", "0", "In any currency; for the upper bound in money. 0 leaves it out.")
        )
        .with_variable(typed("gpu_gib", "GiB per GPU", "80", "Memory of one GPU, for the upper bound in money."))
    )


def _now(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Now"))
        .with_panel(
            number("Released now", "GPU memory measured as given back and still away.", BYTES, RELEASED, decimals=1)
        )
        .with_panel(number("On the GPU now", "What the weights hold on GPUs now.", BYTES, HELD, decimals=1))
        .with_panel(
            number(
                "Share released",
                "Released, of what the weights would hold if none slept.",
                SHARE,
                f"{RELEASED} / ({RELEASED} + {HELD})",
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Saved",
                "Memory × time in the chosen range, from the counter that each replica integrates itself.",
                GIB_HOURS,
                SAVED_GIB_HOURS,
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Worth at most",
                "An upper bound: saved GiB·h ÷ GiB per GPU × price. A pod keeps its GPU allocated; the memory is of "
                "worth to other processes on the same GPU only.",
                COUNT,
                f"{SAVED_GIB_HOURS} / $gpu_gib * $price",
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Simulated replicas",
                "On a simulated device. They are left out of all totals, unless every replica is simulated.",
                COUNT,
                f"count({per_replica(pods(metrics.GPU_INFO, SIMULATED))}) or vector(0)",
            )
        )
    )


def _over_time(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Over time"))
        .with_panel(
            lines(
                "Weights on GPUs, and what is given back",
                "Both together are what the weights would hold without Dormouse.",
                BYTES,
                query(HELD, "on the GPU"),
                query(RELEASED, "released"),
                stacked=True,
                span=16,
            )
        )
        .with_panel(
            lines(
                "Awake, asleep, idle",
                "Shares of replicas: weights not on the GPU, and no request in flight. Idle and not asleep is what the "
                "policy could still give back.",
                SHARE,
                query(f"1 - avg({per_replica(ON_GPU)})", "asleep"),
                query(f"avg({per_replica(pods(metrics.IN_FLIGHT))} == bool 0)", "idle"),
                span=THIRD,
            )
        )
    )


def _who(board: Dashboard) -> Dashboard:
    saved = counted(f"increase({pods(metrics.RELEASED_BYTE_SECONDS)}[$__range])")
    named = {"namespace": "Namespace", "model": "Model"}
    return (
        board.with_row(Row("Who"))
        .with_panel(
            rows(
                "Top savers",
                "Saved in the chosen range by namespace and model.",
                GIB_HOURS,
                f"topk(20, sum by (namespace, model) ({saved}) / 3600 / 2^30)",
                named | {"Value": "Saved"},
                links=[to_model()],
            )
        )
        .with_panel(
            rows(
                "Who is awake",
                "Models by the memory that their weights hold on GPUs now.",
                BYTES,
                f"topk(50, sum by (namespace, model) ({counted(pods(metrics.GPU_MEMORY))}) > 0)",
                named | {"Value": "On the GPU"},
                links=[to_model()],
            )
        )
    )


def _cost(board: Dashboard) -> Dashboard:
    wakes = pods(metrics.TRANSITIONS, 'to="GPU", outcome="ok"')
    return (
        board.with_row(Row("What it cost in waiting"))
        .with_panel(
            number(
                "Wakes",
                "How often weights came back to the GPU in the chosen range.",
                COUNT,
                f"sum({events(wakes, '$__range')}) or vector(0)",
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Requests that waited",
                "Requests that found the model asleep and were let in after its wake.",
                COUNT,
                f"sum(increase({WAITED}[$__range]))",
                decimals=0,
            )
        )
        .with_panel(number("Wait, median", "Of those requests.", SECONDS, wait_quantile(0.5), decimals=2))
        .with_panel(number("Wait, p95", "Of those requests.", SECONDS, wait_quantile(0.95), decimals=2))
        .with_panel(number("Wait, p99", "Of those requests.", SECONDS, wait_quantile(0.99), decimals=2))
        .with_panel(
            number(
                "Not let in",
                "Requests that ended in 503: not awake within their budget, or the wake failed.",
                COUNT,
                f"sum(increase({NOT_LET_IN}[$__range]))",
                decimals=0,
            )
        )
        .with_panel(
            lines(
                "Wakes by cause",
                "Demand is a request; Schedule and Manual come ahead of one.",
                COUNT,
                query(f"sum by (trigger) ({events(wakes, '$__rate_interval')})", "{{trigger}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Stayed on the GPU after a release",
                "Bytes of the weights that the last release did not measurably give back. Anything but 0 is worth a "
                "look.",
                BYTES,
                query(f"sum by (namespace, model) ({counted(pods(metrics.RESIDUAL))}) > 0", "{{namespace}}/{{model}}"),
            )
        )
    )


def _gpus(board: Dashboard) -> Dashboard:
    held = f"sum by (gpu_uuid) ({pods(metrics.PROCESS_GPU_MEMORY)})"
    used = 'max by (gpu_uuid) (label_replace(DCGM_FI_DEV_FB_USED, "gpu_uuid", "$1", "UUID", "(.+)")) * 2^20'
    return board.with_row(Row("GPUs")).with_panel(
        lines(
            "GPU memory by device",
            "What the model servers hold as the driver counts it and, where NVIDIA's DCGM exporter is scraped, all "
            "that is used on these GPUs.",
            BYTES,
            query(held, "model servers {{gpu_uuid}}"),
            query(f"{used} and on (gpu_uuid) {held}", "all (DCGM) {{gpu_uuid}}"),
            span=2 * HALF,
        )
    )
