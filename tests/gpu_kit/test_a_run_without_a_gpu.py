"""The whole kit, as on a GPU machine: another Python, no network, and the simulated device in place of the GPU."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.checks import CHECKS
from benchmarks.gpu.report import from_json

from ..waiting import eventually

# Two minutes are enough on a machine with nothing else to do; here other tests run beside.
_MINUTES = "9"
_WITHOUT_NETWORK = ["unshare", "--net"] if os.getuid() == 0 and shutil.which("unshare") else []


def command(kit: Path, out: Path, *more: str) -> list[str]:
    return ["bash", str(kit / "run"), "--device", "sim", "--minutes", _MINUTES, "--out", str(out), *more]


def read(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "gpu.json").read_text()))


def files_of(folder: Path) -> set[str]:
    return {str(file) for file in folder.rglob("*")}


@pytest.mark.timeout(600)
def test_without_a_network_everything_holds(
    kit: Path, machines_python: str, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON", machines_python)
    before, out = files_of(kit), tmp_path / "out"
    done = subprocess.run([*_WITHOUT_NETWORK, *command(kit, out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    written = read(out)
    assert done.stdout.splitlines()[-1] == written["verdict"]
    assert written["verdict"].startswith("everything held: 8 of 8 checks")
    assert written["verdict"].endswith("on simulated device")
    assert written["complete"] is True
    assert [check["check"] for check in written["checks"]] == [check.name for check in CHECKS]
    assert all(check["seconds"] > 0 and check["findings"] for check in written["checks"])
    assert written["head"]["simulated"] is True
    assert from_json((out / "gpu.json").read_text()).held == 8
    page = (out / "gpu.md").read_text()
    assert page.startswith("# Dormouse on a simulated device, no GPU\n")
    assert all(check.title in page for check in CHECKS)
    assert list(temporary.iterdir()) == [], "the environment and the checks' folders are removed"
    assert files_of(kit) == before, "the kit is as it was"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.timeout(180)
def test_ended_in_the_middle_it_leaves_what_was_measured(
    kit: Path,
    machines_python: str,
    temporary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    monkeypatch.setenv("PYTHON", machines_python)
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(kit, out, "--only", "release", "right-answers"),
        env={**os.environ, "PYTHON": machines_python},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def first_findings() -> bool:
        return (out / "gpu.json").exists() and any(len(check["findings"]) >= 3 for check in read(out)["checks"])

    eventually("the first findings", first_findings, 120)
    if number is signal.SIGKILL:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    status = process.wait(30)
    written = read(out)
    right_answers, release = written["checks"]
    assert len(right_answers["findings"]) >= 3
    assert release["findings"] == []
    assert written["verdict"].startswith("NOT everything held: 0 of 2 checks")
    assert (out / "gpu.md").read_text().startswith("# Dormouse on a simulated device")
    if number is signal.SIGKILL:
        assert right_answers["status"] == "running"
        assert written["complete"] is False
    else:
        assert status == 128 + number
        assert written["cut_off"].startswith(f"signal {number.value} after ")
        assert (right_answers["status"], release["status"]) == ("out of time", "not run")
        assert list(temporary.iterdir()) == []
    eventually("no process of it is left", lambda: not processes_with(str(out)), 20)
    eventually("no check is left", lambda: not processes_with(str(temporary)), 20)


def processes_with(argument: str) -> list[str]:
    """Command lines that name it, zombies left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if argument in line:
            found.append(line)
    return found


def test_a_wheel_that_is_missing_is_said_and_nothing_is_left(
    kit: Path, machines_python: str, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = shutil.copytree(kit, tmp_path / "broken")
    (broken / "requirements.txt").write_text("httpx\nno-such-thing\n")
    monkeypatch.setenv("PYTHON", machines_python)
    done = subprocess.run(["bash", str(broken / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "error: the wheels can't be installed" in done.stderr
    assert "no-such-thing" in done.stderr
    assert list(temporary.iterdir()) == []


def test_without_a_gpu_it_says_so_in_one_sentence(
    kit: Path, machines_python: str, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON", machines_python)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    done = subprocess.run(["bash", str(kit / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "torch sees no CUDA device" in done.stderr
    assert read(tmp_path / "out")["held"] == 0, "$OUT is where the files go"
