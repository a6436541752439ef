"""Everything that an engine without torch needs works where torch is not installed."""

import subprocess
import sys
from pathlib import Path

import dormouse_modelserver

PACKAGE = Path(dormouse_modelserver.__file__).parent
TESTS = Path(__file__).parent
_BLOCK = "import sys; sys.modules['torch'] = None; "
# What needs torch: that engine, and what registers models with it.
WITH_TORCH = {"engines.torch", "manager", "command.answers", "command.checking", "command.serving"}


def modules() -> list[str]:
    found = (path.relative_to(PACKAGE).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py")))
    names = (".".join(parts).removesuffix(".__init__") for parts in found)
    return [
        f"dormouse_modelserver.{name}"
        for name in names
        if name != "__init__"
        and not any(name == with_torch or name.startswith(f"{with_torch}.") for with_torch in WITH_TORCH)
    ]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BLOCK + code, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=TESTS.parents[1],
    )


def test_each_module_imports() -> None:
    there = modules()
    assert {"lifecycle.slot", "server.routes", "server.panel.routes", "command.serve_settings", "cli"} <= {
        name.removeprefix("dormouse_modelserver.") for name in there
    }
    done = run("import importlib; [importlib.import_module(name) for name in sys.argv[1:]]; print('imported')", *there)
    assert done.stdout.strip() == "imported", done.stderr


def test_what_needs_torch_says_so() -> None:
    done = run("import dormouse_modelserver; dormouse_modelserver.ResidencyManager")
    assert "torch" in done.stderr
    assert done.returncode == 1


def test_a_slot_with_another_engine_works() -> None:
    done = run(
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))",
        "-q",
        "-p",
        "no:cacheprovider",
        str(TESTS / "test_a_stand_in_engine.py"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
