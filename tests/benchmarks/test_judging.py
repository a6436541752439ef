"""Figures are judged as the targets say, whatever machine they come from."""

from typing import Any

import pytest

from benchmarks.engine.cases import ALL, QUICK, parse
from benchmarks.engine.page import replaced
from benchmarks.engine.running import no_room
from benchmarks.engine.targets import judge


def figures(case: str, **changes: Any) -> dict[str, Any]:
    """Of a case that meets every target by far."""
    parsed = parse(case)
    measured = {
        "case": case,
        "bytes": parsed.nbytes,
        "parameters": parsed.parameters,
        "frozen": parsed.frozen,
        "memcpy_seconds": 0.05,
        "restore_seconds": 0.05,
        "wake_seconds": 0.06,
        "offload_seconds": 0.01,
        "offload_bytes_copied": 0,
        "reload_seconds": 0.5,
        "safetensors_seconds": 0.5,
        "host_bytes": parsed.nbytes,
    }
    return measured | changes


@pytest.mark.parametrize(
    ("case", "changes", "missed"),
    [
        ("1GB-300", {}, None),
        ("1GB-300", {"restore_seconds": 0.0556}, "restore, share of memcpy speed"),
        ("100MB-300", {"restore_seconds": 0.1}, None),
        ("4GB-3000", {"offload_seconds": 0.0849}, None),
        ("4GB-3000", {"offload_seconds": 0.0851}, "offload with the check, less 20 ms, ÷ memcpy"),
        ("100MB-10", {"offload_seconds": 0.0851}, "offload with the check, less 20 ms, ÷ memcpy"),
        ("4GB-3000-frozen", {"offload_seconds": 0.0126}, "offload frozen ÷ memcpy"),
        ("1GB-300", {"reload_seconds": 0.599}, None),
        ("1GB-300", {"reload_seconds": 0.601}, "reload ÷ load_file"),
        ("4GB-10", {"safetensors_seconds": 0.4}, "reload ÷ load_file"),
        ("4GB-3000", {"reload_seconds": 5.0}, None),
        ("1GB-10", {"offload_bytes_copied": 1}, "offload, bytes copied"),
        ("1GB-10", {"host_bytes": 1_051_000_000}, "host RAM, share of the weights"),
    ],
    ids=str,
)
def test_a_target_is_missed_just_beyond_its_limit(case: str, changes: dict[str, Any], missed: str | None) -> None:
    names = [verdict.target for verdict in judge(figures(case, **changes)) if not verdict.met]
    assert names == ([] if missed is None else [missed])


def test_a_machine_that_is_ten_times_slower_meets_what_a_fast_one_meets() -> None:
    for case in ALL:
        fast = figures(case.name)
        slow = {name: value * 10 if name.endswith("_seconds") else value for name, value in fast.items()}
        assert all(verdict.met for verdict in (*judge(fast), *judge(slow)))


def test_the_cases_are_every_size_with_every_number_of_parameters() -> None:
    names = {case.name for case in ALL}
    assert names > {f"{size}-{count}" for size in ("100MB", "1GB", "4GB") for count in (10, 300, 3000)}
    assert {"1GB-300-frozen", "4GB-3000-frozen"} < names


@pytest.mark.parametrize("case", [*ALL, *QUICK], ids=lambda case: case.name)
def test_a_case_is_read_back_from_its_name(case: object) -> None:
    assert parse(getattr(case, "name", "")) == case


def test_a_case_that_does_not_fit_says_what_it_needs() -> None:
    assert no_room(parse("4GB-10"), 13 * 10**9) is None
    assert no_room(parse("4GB-10"), 12 * 10**9) == "needs 13.0 GB of free host RAM, and 12.0 GB are free"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="engine: begin"):
        replaced("# no table here", "engine", "table")
