"""The kit, made once, and a Python 3.12 with torch as a GPU machine has it, where this machine has a Python 3.12."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu.kit.__main__ import cache_folder, make_kit

ROOT = Path(__file__).parents[2]
# What a GPU machine has besides; the kit must not count on more.
_MACHINE_HAS = ("torch", "numpy", "safetensors", "httpx", "pytest")


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "gpu-kit"
    make_kit(folder, cache_folder())
    return folder


@pytest.fixture(scope="session")
def machines_python() -> str:
    """A 3.12 with what a GPU machine has; else this one, which has the product's needs too."""
    base = _python_312()
    return sys.executable if base is None else str(_with_torch(base))


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the kit makes its environments; after a run nothing may be left there. Short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="kit-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def _python_312() -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which("python3.12"), *map(str, sorted(pyenv.glob("versions/3.12*/bin/python3.12")))]
    return next((python for python in found if python is not None and _works(python)), None)


def _works(python: str) -> bool:
    """A shim may be there without a Python behind it."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def _with_torch(base: str) -> Path:
    """Made once and kept: torch in the version of the lock file is a few GB, linked from uv's cache."""
    locked = {one["name"]: one["version"] for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    requirements = [f"{name}=={locked[name]}" for name in _MACHINE_HAS]
    kept = cache_folder() / f"python-{hashlib.sha256(' '.join((base, *requirements)).encode()).hexdigest()[:16]}"
    if not kept.exists():
        uv, making = str(ROOT / "scripts/uv"), kept.with_name(f"{kept.name}.{os.getpid()}")
        subprocess.run([uv, "venv", "--quiet", "--python", base, str(making)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(making), *requirements], check=True)
        making.rename(kept)
    return kept / "bin/python"
