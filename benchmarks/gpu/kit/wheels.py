"""The kit's wheels: the product's own, and what the lock file names for it beyond what comes with torch."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# The machine that the kit is for. pip matches a platform's name exactly, so all that a current glibc runs are listed.
PYTHON_VERSION = "3.12"
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)), "manylinux2014_x86_64", "linux_x86_64")
# With torch these are there as well; their wheels would be most of the kit.
PRUNED = ("torch", "numpy")


class KitFailed(RuntimeError):
    """The kit can't be made; says why, and what to do."""


def locked(root: Path) -> str:
    """The requirements with their hashes, as the lock file has them: a line or more each."""
    command = [str(root / "scripts/uv"), "export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-project"]
    command += ["--extra", "modelserver", "--group", "gpu-kit", "--no-annotate", "--no-header"]
    for name in PRUNED:
        command += ["--prune", name]
    return _output(command, root)


def fetched(requirements: str, cache: Path) -> Path:
    """A folder with a wheel for each, for the kit's machine; fetched once and kept."""
    kept = cache / hashlib.sha256("\n".join((requirements, PYTHON_VERSION, *PLATFORMS)).encode()).hexdigest()[:16]
    if kept.is_dir():
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        names, wheels = Path(scratch, "requirements.txt"), Path(scratch, "wheels")
        names.write_text(requirements)
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation", "cp"]
        command += ["--python-version", PYTHON_VERSION, *(part for one in PLATFORMS for part in ("--platform", one))]
        _output([*command, "--dest", str(wheels), "--requirement", str(names)], Path(scratch))
        try:
            wheels.replace(kept)
        except OSError:  # another run was faster
            if not kept.is_dir():
                raise
    return kept


def product(root: Path, into: Path) -> None:
    """The product's wheel."""
    with tempfile.TemporaryDirectory() as scratch:
        _output([str(root / "scripts/uv"), "build", "--quiet", "--wheel", "--out-dir", scratch, str(root)], root)
        for wheel in Path(scratch).glob("*.whl"):
            shutil.copy(wheel, into)


def check_complete(wheels: Path, beside: list[str]) -> None:
    """Raises `KitFailed` when the kit's machine would look for a wheel that is not there.

    beside: what the checks need beyond the product. What comes with torch, the machine has.
    """
    dormouse = next(wheels.glob("dormouse-*.whl"))
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
        command += ["--dry-run", "--ignore-installed", "--no-index", "--find-links", str(wheels), "--target", scratch]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON_VERSION]
        command += [part for one in PLATFORMS for part in ("--platform", one)]
        _output([*command, f"{dormouse}[modelserver]", *beside], Path(scratch))


def _output(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KitFailed(f"{Path(command[0]).name} {' '.join(command[1:4])} … failed: {done.stderr.strip()[-1500:]}")
    return done.stdout
