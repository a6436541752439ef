"""Makes an environment from the kit's wheels over the Python that has torch, and runs the checks in it.

Only the standard library. The environment is in a temporary folder that is removed at the end; nothing is installed
into the machine's own.
"""

# ruff: noqa: T201
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEELS, CODE = HERE / "wheels", HERE / "code"
UNAVAILABLE = 69
LEAST_TORCH = (2, 8)


def main(arguments: list[str]) -> int:
    started = time.time()
    if {"-h", "--help"} & set(arguments):
        environment = {**os.environ, "PYTHONPATH": str(CODE)}
        return subprocess.call([sys.executable, "-B", "-m", "benchmarks.gpu", "--help"], env=environment)
    for module in ("torch", "numpy"):
        if importlib.util.find_spec(module) is None:
            return _refuse(f"this Python ({sys.executable}) has no {module}")
    torch = importlib.metadata.version("torch")
    if tuple(map(int, torch.split(".")[:2])) < LEAST_TORCH:
        return _refuse(f"this Python ({sys.executable}) has torch {torch}")
    folder = Path(tempfile.mkdtemp(prefix="dormouse-gpu-kit-"))
    try:
        print(f"preparing: an environment over {sys.executable}, from the kit's wheels", flush=True)
        problem = install(folder)
        if problem:
            return _refuse(f"the wheels can't be installed: {problem}")
        # Modules are compiled once for all checks, and not into the kit's folder.
        shutil.copytree(CODE, folder / "code")
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder / "code"),
            "DORMOUSE_GPU_KIT_STARTED": str(started),
            # Where torch keeps what it compiles: else in the machine's own temporary folder, for good.
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
            "TRITON_CACHE_DIR": str(folder / "triton"),
        }
        return _pass_on_signals([str(folder / "bin/python"), "-m", "benchmarks.gpu", *arguments], environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(folder: Path) -> str:
    """An environment in `folder` with Dormouse in it. Gives what pip said when it could not, else ""."""
    venv.EnvBuilder(system_site_packages=True, with_pip=False, symlinks=True).create(folder)
    own = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    # Where this Python is itself an environment's, "system site packages" are those of the Python below it: what this
    # one has, torch first of all, is added by name.
    places = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    (own / "machine.pth").write_text("".join(f"import site; site.addsitedir({place!r})\n" for place in places))
    pip, dormouse = next(WHEELS.glob("pip-*.whl")), next(WHEELS.glob("dormouse-*.whl"))
    command = [str(folder / "bin/python"), "-m", "pip", "--isolated", "--disable-pip-version-check", "install"]
    command += ["--quiet", "--no-index", "--no-compile", "--no-warn-conflicts", "--find-links", str(WHEELS)]
    beside = (HERE / "requirements.txt").read_text().split()
    # First the product itself, also over one that the machine has; then of the rest what the machine lacks.
    for what in (["--no-deps", "--force-reinstall", str(dormouse)], [f"{dormouse}[modelserver]", *beside]):
        environment = {**os.environ, "PYTHONPATH": str(pip)}
        done = subprocess.run([*command, *what], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr or done.stdout).strip()[-1500:]
    return ""


def _pass_on_signals(command: list[str], environment: dict[str, str]) -> int:
    """The command's status. A signal goes to it, so that it can write what it has before it ends."""
    process = subprocess.Popen(command, env=environment)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: process.send_signal(number))
    status = process.wait()
    return 128 - status if status < 0 else status


def _refuse(problem: str) -> int:
    print(
        f"error: {problem}.\nNothing was measured. The kit needs a CPython 3.12 on x86-64 Linux with torch 2.8 or "
        "newer and numpy; say which one: PYTHON=/path/to/python3 bash run",
        file=sys.stderr,
    )
    return UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
