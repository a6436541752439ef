"""Fleet: what was given back, what it cost in waiting, and who is awake."""

from dormouse_contract import metrics
from dormouse_contract.promql import memory, use, waiting
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import cluster_of, frame, model_name, namespace, typed
from dashboards.queries import HELD, PODS, RANGE, RATE, RELEASED, SAVED_GIB_HOURS, wait_quantile
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
                memory.share_released(PODS),
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
                memory.simulated(PODS),
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
                query(use.share_asleep(PODS), "asleep"),
                query(use.share_idle(PODS), "idle"),
                span=THIRD,
            )
        )
    )


def _who(board: Dashboard) -> Dashboard:
    named = {"namespace": "Namespace", "model": "Model"}
    return (
        board.with_row(Row("Who"))
        .with_panel(
            rows(
                "Top savers",
                "Saved in the chosen range by namespace and model.",
                GIB_HOURS,
                f"topk(20, {memory.saved(PODS, RANGE, 'namespace, model')} / {memory.GIB_HOUR})",
                named | {"Value": "Saved"},
                links=[to_model()],
            )
        )
        .with_panel(
            rows(
                "Who is awake",
                "Models by the memory that their weights hold on GPUs now.",
                BYTES,
                f"topk(50, {memory.by_model(metrics.GPU_MEMORY, PODS)} > 0)",
                named | {"Value": "On the GPU"},
                links=[to_model()],
            )
        )
    )


def _cost(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("What it cost in waiting"))
        .with_panel(
            number(
                "Wakes",
                "How often weights came back to the GPU in the chosen range.",
                COUNT,
                f"{waiting.wakes(PODS, RANGE)} or vector(0)",
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Requests that waited",
                "Requests that found the model asleep and were let in after its wake.",
                COUNT,
                waiting.waited(PODS, RANGE),
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
                waiting.not_let_in(PODS, RANGE),
                decimals=0,
            )
        )
        .with_panel(
            lines(
                "Wakes by cause",
                "Demand is a request; Schedule and Manual come ahead of one.",
                COUNT,
                query(waiting.wakes(PODS, RATE, "trigger"), "{{trigger}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Stayed on the GPU after a release",
                "Bytes of the weights that the last release did not measurably give back. Anything but 0 is worth a "
                "look.",
                BYTES,
                query(f"{memory.by_model(metrics.RESIDUAL, PODS)} > 0", "{{namespace}}/{{model}}"),
            )
        )
    )


def _gpus(board: Dashboard) -> Dashboard:
    return board.with_row(Row("GPUs")).with_panel(
        lines(
            "GPU memory by device",
            "What the model servers hold as the driver counts it and, where NVIDIA's DCGM exporter is scraped, all "
            "that is used on these GPUs.",
            BYTES,
            query(memory.of_processes(PODS), "model servers {{gpu_uuid}}"),
            query(memory.of_devices_of_processes(PODS), "all (DCGM) {{gpu_uuid}}"),
            span=2 * HALF,
        )
    )
