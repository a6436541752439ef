"""`make generate` writes what is stale and nothing else; with `--check` it only names it, and fails."""

from pathlib import Path

import pytest

from generate.cli import main
from generate.sources import ROOT, SOURCES, generated, stale


@pytest.mark.parametrize("path", sorted(generated()), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_generated_file_is_fresh(path: Path) -> None:
    assert not stale({path: generated()[path]}), "run: make generate"


def test_no_two_sources_make_one_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two sources make .*page\.md"):
        generated([lambda: {tmp_path / "page.md": "a"}, lambda: {tmp_path / "page.md": "b"}])


def test_what_is_stale_is_written_and_said_and_what_is_fresh_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, old, fresh = tmp_path / "new" / "missing.md", tmp_path / "old.md", tmp_path / "fresh.md"
    old.write_text("before")
    fresh.write_text("same")
    untouched = fresh.stat().st_mtime_ns
    sources = [lambda: {missing: "made", old: "after"}, lambda: {fresh: "same"}]
    assert main([], sources) == 0
    assert [missing.read_text(), old.read_text()] == ["made", "after"]
    assert fresh.stat().st_mtime_ns == untouched
    assert capsys.readouterr().out.splitlines() == [f"wrote: {missing}", f"wrote: {old}"]
    assert main([], sources) == 0
    assert capsys.readouterr().out == ""


def test_a_check_writes_nothing_and_names_each_stale_file_with_the_command_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, old, fresh = tmp_path / "missing.md", tmp_path / "old.md", tmp_path / "fresh.md"
    old.write_text("before")
    fresh.write_text("same")
    assert main(["--check"], [lambda: {missing: "made", old: "after", fresh: "same"}]) == 1
    assert not missing.exists()
    assert old.read_text() == "before"
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["stale", "stale"]
    assert all(line.endswith("make generate") for line in said)
    assert str(missing) in said[0]
    assert str(old) in said[1]


def test_a_check_of_fresh_files_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("same")
    assert main(["--check"], [lambda: {page: "same"}]) == 0
    assert capsys.readouterr() == ("", "")


def test_every_source_makes_something() -> None:
    assert all(source() for source in SOURCES)
