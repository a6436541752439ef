"""A run from the command line: real processes, real weights, and files that say what was measured."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine.__main__ import main

# The contract's, for `build/bench/engine.json`.
CONTRACT = {
    "case",
    "bytes",
    "parameters",
    "device",
    "restore_seconds",
    "verify_seconds",
    "memcpy_seconds",
    "offload_seconds",
    "offload_bytes_copied",
    "host_bytes",
    "to_device_seconds",
}
BESIDE = {
    f"{name}_seconds"
    for name in (
        "wake",
        "to_cpu",
        "unload",
        "reload",
        "safetensors",
        "first_inference",
        "second_inference",
        "never_moved_first_inference",
        "never_moved_second_inference",
    )
}
PAGE = "# Title\n\nBefore.\n\n<!-- engine: begin -->\nold\n<!-- engine: end -->\n\nAfter.\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`json` and `page` of a run with a small model, a larger one, and a frozen one."""
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "page.md"
    page.write_text(PAGE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patched.setattr("benchmarks.engine.command.BUILD", folder / "build")
        out = folder / "engine.json"
        names = "1MB-10,10MB-100,1MB-10-frozen"
        assert main(["--quick", "--cases", names, "--out", str(out), "--page", str(page)]) == 0
    assert list((folder / "build").iterdir()) == [], "weights are left behind"
    return {"json": json.loads(out.read_text()), "page": page.read_text()}


def cases(written: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case["case"]: case for case in written["json"]["cases"]}


def test_each_case_has_the_keys_of_the_contract_and_those_beside(written: dict[str, Any]) -> None:
    for case in written["json"]["cases"]:
        assert case.keys() >= CONTRACT | BESIDE
        assert case["device"] == "sim"


def test_the_machine_is_named(written: dict[str, Any]) -> None:
    machine = written["json"]["machine"]
    assert machine.keys() >= {"cpu", "cores", "torch", "python", "date", "load_average", "device_name"}
    assert all(machine[key] for key in ("cpu", "cores", "torch", "python", "date"))


def test_unchanged_weights_are_not_copied_and_are_in_host_ram_once(written: dict[str, Any]) -> None:
    for case in written["json"]["cases"]:
        assert case["offload_bytes_copied"] == 0
        assert case["bytes"] <= case["host_bytes"] <= 1.05 * case["bytes"]


def test_the_median_lies_between_least_and_most(written: dict[str, Any]) -> None:
    for case in written["json"]["cases"]:
        for name in (key for key in case if key.endswith("_seconds")):
            assert 0 <= case[f"{name}_min"] <= case[name] <= case[f"{name}_max"]


def test_a_frozen_model_is_not_checked(written: dict[str, Any]) -> None:
    assert cases(written)["1MB-10-frozen"]["verify_seconds"] == 0
    assert cases(written)["1MB-10"]["verify_seconds"] > 0


def test_what_the_device_held_is_kept_for_each_transition(written: dict[str, Any]) -> None:
    for case in written["json"]["cases"]:
        restore, offload = case["memory"]["restore"], case["memory"]["offload"]
        assert restore["after"]["used"] - restore["before"]["used"] >= case["bytes"]
        assert offload["before"]["used"] - offload["after"]["used"] >= case["bytes"]


def test_the_page_keeps_what_is_around_the_table(written: dict[str, Any]) -> None:
    page = written["page"]
    assert page.startswith("# Title\n\nBefore.\n\n<!-- engine: begin -->\n")
    assert page.endswith("<!-- engine: end -->\n\nAfter.\n")
    assert "| 10MB-100 |" in page
    assert "old" not in page


def test_a_case_that_is_misspelt_is_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--cases", "1GiB-300", "--out", str(tmp_path / "none.json")])
    assert "as in 1GB-300 or 4GB-3000-frozen" in capsys.readouterr().err
