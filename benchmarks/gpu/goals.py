"""What is asked of figures that were measured on a GPU: pure. Of the simulated device only what holds anywhere."""

from collections.abc import Iterator

from benchmarks.engine.targets import LEAST_SHARE_OF_MEMCPY, MOST_HOST_SHARE, OFFLOAD_SECONDS, Figures, Verdict

from .prediction import GEN5_BYTES_PER_SECOND, LARGE_BYTES, LARGE_SECONDS, TOLERANCE, predict


def judge(figures: Figures, *, simulated: bool) -> Iterator[Verdict]:
    """The goals of one case."""
    case, nbytes = figures["case"], figures["bytes"]
    yield Verdict(case, "offload, bytes copied", figures["offload_bytes_copied"], 0)
    yield Verdict(case, "host RAM, share of the weights", figures["host_bytes"] / nbytes, MOST_HOST_SHARE)
    if simulated:
        return
    if nbytes >= 10**9:
        share = figures["memcpy_seconds"] / figures["restore_seconds"]
        yield Verdict(case, "restore, share of memcpy speed", share, LEAST_SHARE_OF_MEMCPY, at_least=True)
    if figures["parameters"] == 3000:
        check = "without the check" if figures["frozen"] else "with the check"
        yield Verdict(case, f"offload {check}, seconds", figures["offload_seconds"], OFFLOAD_SECONDS)
    predicted = predict(figures)
    yield Verdict(case, "restore, share of the predicted time", predicted.share_of_predicted, TOLERANCE)
    if nbytes >= LARGE_BYTES and predicted.bandwidth_bytes_per_second >= GEN5_BYTES_PER_SECOND:
        yield Verdict(case, "back on a Gen5 link, seconds", figures["wake_seconds"], LARGE_SECONDS)
