"""Figures of a GPU are judged as the goals say; those of the simulated device only by what holds anywhere."""

from typing import Any

import pytest

from benchmarks.engine.cases import parse
from benchmarks.gpu.goals import judge
from benchmarks.gpu.prediction import predict


def figures(case: str, **changes: Any) -> dict[str, Any]:
    """Of a case that meets every goal."""
    parsed = parse(case)
    seconds = parsed.nbytes / 50e9
    measured = {
        "case": case,
        "bytes": parsed.nbytes,
        "parameters": parsed.parameters,
        "frozen": parsed.frozen,
        "memcpy_seconds": seconds,
        "restore_seconds": seconds,
        "wake_seconds": 1.1 * seconds,
        "offload_seconds": 0.01,
        "offload_bytes_copied": 0,
        "host_bytes": parsed.nbytes,
    }
    return measured | changes


def missed(case: str, *, simulated: bool = False, **changes: Any) -> list[str]:
    return [verdict.target for verdict in judge(figures(case, **changes), simulated=simulated) if not verdict.met]


@pytest.mark.parametrize("case", ["100MB-3000", "1GB-300", "4GB-3000", "1GB-3000-frozen", "40GB-300"])
def test_a_restore_at_the_speed_of_the_link_meets_all_goals(case: str) -> None:
    assert missed(case) == []


@pytest.mark.parametrize(
    ("case", "changes", "goal"),
    [
        ("1GB-300", {"restore_seconds": 0.0225}, "restore, share of memcpy speed"),
        ("4GB-3000", {"offload_seconds": 0.021}, "offload with the check, seconds"),
        ("1GB-3000-frozen", {"offload_seconds": 0.021}, "offload without the check, seconds"),
        ("100MB-3000", {"restore_seconds": 0.003}, "restore, share of the predicted time"),
        ("40GB-300", {"wake_seconds": 1.01}, "back on a Gen5 link, seconds"),
        ("1GB-300", {"offload_bytes_copied": 8}, "offload, bytes copied"),
        ("1GB-300", {"host_bytes": 1_060_000_000}, "host RAM, share of the weights"),
    ],
)
def test_each_goal_can_be_missed(case: str, changes: dict[str, Any], goal: str) -> None:
    assert goal in missed(case, **changes)


def test_a_small_case_is_not_held_against_the_share_of_memcpy() -> None:
    assert "restore, share of memcpy speed" not in missed("100MB-300", restore_seconds=0.1)


def test_forty_gigabytes_are_asked_for_within_a_second_on_gen5_only() -> None:
    assert missed("40GB-300", memcpy_seconds=1.6, restore_seconds=1.6, wake_seconds=1.9) == []


def test_the_simulated_device_is_asked_for_no_time() -> None:
    slow = {"restore_seconds": 100.0, "wake_seconds": 100.0, "offload_seconds": 100.0}
    assert missed("40GB-300", simulated=True, **slow) == []
    assert missed("40GB-300", simulated=True, offload_bytes_copied=1) == ["offload, bytes copied"]


def test_a_copy_for_each_parameter_would_take_longer() -> None:
    one = predict(figures("4GB-3000", memcpy_seconds=0.08))
    assert one.bandwidth_bytes_per_second == pytest.approx(50e9)
    assert one.predicted_per_tensor_seconds > one.predicted_seconds > 0.08
