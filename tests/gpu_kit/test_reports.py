"""`gpu.json`, `gpu.md` and the page of the docs are made of the same run, and none of them calls sim a GPU."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu.outcome import CheckOutcome, Finding, GpuRun, Status
from benchmarks.gpu.page import PAGE, main, section
from benchmarks.gpu.report import as_json, as_page, from_json, write

from .heads import GPU, SIMULATED

ROOT = Path(__file__).parents[2]


def a_run(head: dict[str, object] = GPU) -> GpuRun:
    speed = CheckOutcome(
        "speed",
        "Speed",
        Status.FAILED,
        31.0,
        60.0,
        [
            Finding("1GB-300: restore", True, "0.95"),
            Finding("1GB-300: offload", False, "0.021"),
            Finding("40GB", None, "no room"),
        ],
        {"cases (medians in ms)": {"1GB-300": {"restore": 19.2, "reload": None}}, "raw 1GB-300": {"bytes": 10**9}},
    )
    return GpuRun(
        head, [CheckOutcome("release", "Release", Status.HELD, 5.0, 9.0, [Finding("flat", True)]), speed], 9, 36.0
    )


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    write(a_run(), tmp_path)
    assert from_json((tmp_path / "gpu.json").read_text()) == a_run()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gpu.json", "gpu.md"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"head": {}, "checks": [{}]}', '{"head": {}, "checks": 3}'])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no gpu\.json|Expecting value"):
        from_json(text)


def test_the_page_has_the_head_each_finding_and_the_figures() -> None:
    page = as_page(a_run())
    assert "a GPU of a test, 4.0 GiB" in page
    assert "driver 580.1, CUDA 13.0, torch 2.15.0, Python 3.12.1" in page
    assert "PCIe generation 5 × 16 (at most 5); NUMA node 0 of 2" in page
    assert "**NOT everything held: 1 of 2 checks, 2 of 3 findings, on a GPU of a test**" in page
    assert "- **FAILED**: 1GB-300: offload (0.021)" in page
    assert "- not tried: 40GB (no room)" in page
    assert "| 1GB-300 | 19.2 | – |" in page
    assert "raw" not in page


def test_a_simulated_run_says_so_first_and_nowhere_else_but_as_simulated() -> None:
    page = as_page(a_run(SIMULATED))
    assert page.startswith("# Dormouse on a simulated device, no GPU\n")
    assert "(simulated: no figure here is a GPU's)" in page


def test_before_the_device_has_answered_both_files_can_be_written() -> None:
    waiting = GpuRun({}, [CheckOutcome("speed", "Speed")], 9)
    assert json.loads(as_json(waiting))["complete"] is False
    assert "nothing is known of it" in as_page(waiting)


def test_the_docs_get_the_figures_between_their_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / PAGE).read_text())
    write(a_run(), tmp_path)
    assert main([str(tmp_path / "gpu.json"), str(page)]) == 0
    text = page.read_text()
    assert "driver 580.1, CUDA 13.0" in text
    assert "- speed: 1GB-300: offload (0.021)" in text
    assert "| 1GB-300 | 19.2 | – |" in text
    assert "No figures yet" not in text
    assert main([str(tmp_path / "gpu.json"), str(page)]) == 0
    assert page.read_text() == text, "a second time changes nothing"
    assert "the part 'On a GPU'" in capsys.readouterr().out


def test_figures_of_the_simulated_device_never_get_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / PAGE).read_text())
    write(a_run(SIMULATED), tmp_path)
    assert main([str(tmp_path / "gpu.json"), str(page)]) == 1
    assert page.read_text() == (ROOT / PAGE).read_text()
    assert "on no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["gpu.json", "page.md"])
def test_a_file_that_is_not_there_is_named(missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.md").write_text((ROOT / PAGE).read_text())
    write(a_run(), tmp_path)
    (tmp_path / missing).unlink()
    assert main([str(tmp_path / "gpu.json"), str(tmp_path / "page.md")]) == 1
    assert missing in capsys.readouterr().err


def test_until_there_are_figures_the_page_says_so() -> None:
    """Whoever writes figures there did it with the command, from a run on a GPU."""
    text = (ROOT / PAGE).read_text().partition("<!-- gpu: begin -->")[2].partition("<!-- gpu: end -->")[0]
    assert "No figures yet" in text or ("driver " in text and "sim" not in text)


def test_a_run_that_was_cut_off_says_so_in_the_docs() -> None:
    run = a_run()
    run.cut_off = "signal 15 after 36 s"
    assert "The run was cut off: signal 15 after 36 s." in section(run)
