"""The command's options, the checks that there are, and a machine that has no GPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.__main__ import UNAVAILABLE, USAGE, main
from benchmarks.gpu.checks import CHECKS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--only", "relase"], "there is no check 'relase'; there are: right-answers"),
        (["--minutes", "0"], "0 is no number of minutes"),
        (["--minutes", "nan"], "nan is no number of minutes"),
        (["--minutes", "soon"], "--minutes"),
        (["--gpu", "0"], "unrecognized arguments"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_measured(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:0", "sim:0GiB", "tpu:0"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named_and_the_files_say_that_nothing_was_measured(
    device: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", device, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == UNAVAILABLE
    assert done.stderr.startswith(f"error: device '{device}'")
    assert "Traceback" not in done.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert (written["complete"], written["held"]) == (True, 0)
    assert {check["status"] for check in written["checks"]} == {"not run"}
    assert device in written["cut_off"]


def test_each_check_has_its_module_with_run_and_the_most_important_comes_first() -> None:
    names = [check.name for check in CHECKS]
    assert names[:3] == ["right-answers", "release", "speed"]
    assert len(set(names)) == len(names)
    for check in CHECKS:
        found = importlib.util.find_spec(check.module)
        assert found is not None
        assert found.origin is not None
        assert "\ndef run(report: Report) -> None:" in Path(found.origin).read_text()


def test_help_needs_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; from benchmarks.gpu.__main__ import main; main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "bash run --minutes 20" in done.stdout
    for check in CHECKS:
        assert check.name in done.stdout
