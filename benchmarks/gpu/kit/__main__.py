"""Makes the kit: everything that only a GPU can prove, in one folder for a machine without a network.

python -m benchmarks.gpu.kit [FOLDER]       (default build/gpu-kit)
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from .wheels import KitFailed, check_complete, fetched, locked, product

ROOT = Path(__file__).resolve().parents[3]
MOST_BYTES = 48 << 20
# What the checks use beyond the product: the client of the servers, and quantized weights.
BESIDE = ["httpx", "torchao"]
# Of the checkout: the checks, the benchmarks that they use, and the zoo of models.
_CODE = (
    "benchmarks/__init__.py",
    "benchmarks/engine",
    "benchmarks/gpu",
    "benchmarks/serving",
    "tests/__init__.py",
    "tests/modelserver/__init__.py",
    "tests/modelserver/zoo.py",
    "tests/modelserver/odd_zoo.py",
)
_README = """\
# Dormouse on a GPU

    bash run                        nine minutes; gpu.json and gpu.md are written anew after each finding
    bash run --minutes 20 --out results
    bash run --help

On a machine with an NVIDIA GPU that nobody else uses, and a CPython 3.12 (python3, or the one that PYTHON names) with
torch 2.8 or newer and numpy. No network is needed. Nothing is installed into the machine's own environment.

Bring gpu.json back to the checkout: `make gpu-page GPU_JSON=path/to/gpu.json` writes its figures into the docs.
"""


def make_kit(folder: Path, cache: Path, *, most_bytes: int = MOST_BYTES) -> int:
    """Put the kit in the place of `folder`, whole or not at all; returns its bytes. Raises `KitFailed`."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gpu-kit-", dir=folder.parent) as scratch:
        new = Path(scratch, "gpu-kit")
        wheels = new / "wheels"
        wheels.mkdir(parents=True)
        for wheel in fetched(locked(ROOT), cache).iterdir():
            shutil.copy(wheel, wheels)
        product(ROOT, wheels)
        check_complete(wheels, BESIDE)
        for name in _CODE:
            _copy(ROOT / name, new / "code" / name)
        for name in ("run", "prepare.py"):
            shutil.copy(Path(__file__).with_name(name), new)
        (new / "requirements.txt").write_text("\n".join(BESIDE) + "\n")
        (new / "README.md").write_text(_README)
        nbytes = sum(file.stat().st_size for file in new.rglob("*") if file.is_file())
        if nbytes > most_bytes:
            largest = sorted(wheels.iterdir(), key=lambda wheel: -wheel.stat().st_size)[:3]
            raise KitFailed(
                f"the kit has {_mib(nbytes)}, and {_mib(most_bytes)} is the most it may have. The largest wheels: "
                + ", ".join(f"{wheel.name} ({_mib(wheel.stat().st_size)})" for wheel in largest)
            )
        new.chmod(0o755)
        if folder.exists():
            folder.rename(Path(scratch, "before"))
        new.rename(folder)
    return nbytes


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "kit"))
    else:
        shutil.copy(source, target)


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB"


def cache_folder() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dormouse"
    return Path(os.environ.get("DORMOUSE_CACHE") or default) / "gpu-kit"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.kit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/gpu-kit"), help="default build/gpu-kit")
    folder = parser.parse_args(arguments).folder
    print("Making the kit: wheels from the lock file, the product's own, the checks", flush=True)  # noqa: T201
    try:
        nbytes = make_kit(folder, cache_folder())
    except KitFailed as failed:
        print(f"error: {failed}\nNo kit was made; one that was there before is as it was.", file=sys.stderr)  # noqa: T201
        return 1
    wheels = len(list((folder / "wheels").iterdir()))
    print(  # noqa: T201
        f"{folder}: {_mib(nbytes)}, {wheels} wheels for CPython 3.12 on x86-64 Linux\n\n"
        "Take the folder to a machine with a GPU whose Python has torch 2.8 or newer and numpy, and run there:\n"
        f"  bash {folder.name}/run                 nine minutes (--minutes 20 measures more, --help says the rest)\n"
        "Then bring gpu.json back, and write its figures into the documentation:\n"
        "  make gpu-page GPU_JSON=path/to/gpu.json"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
