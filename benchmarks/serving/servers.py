"""The two servers as real processes on loopback, ended by their process id."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_START_SECONDS = 120.0
WITH_PORT, PLAIN_PORT = 17860, 17861
_APPS = "benchmarks.serving.apps"


@contextmanager
def with_dormouse() -> Iterator[str]:
    """The base URL of `dormouse-modelserver serve` with the app, on the simulated device."""
    options = ["--app", f"{_APPS}:create_app", "--device", "sim:256MiB", "--idle-timeout", "never"]
    command = [sys.executable, "-m", "dormouse_modelserver.cli", "serve", *options, "--port", str(WITH_PORT)]
    with _running(command, f"http://127.0.0.1:{WITH_PORT}") as url:
        yield url


@contextmanager
def without() -> Iterator[str]:
    """The base URL of the same app under plain uvicorn."""
    options = ["--factory", "--port", str(PLAIN_PORT), "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", f"{_APPS}:create_plain_app", *options]
    with _running(command, f"http://127.0.0.1:{PLAIN_PORT}") as url:
        yield url


@contextmanager
def _running(command: list[str], url: str) -> Iterator[str]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not start; run it by hand to see why")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/awake/1", timeout=10).status_code == 200
    except httpx.TransportError:
        return False
