"""The two servers as real processes on loopback, ended by their process id."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from .apps import DEFAULT_WIDTH, DEVICE_VARIABLE, WIDTH_VARIABLE

_START_SECONDS = 120.0
_APPS = "benchmarks.serving.apps"
SIM_DEVICE = "sim:256MiB"


@dataclass(frozen=True, slots=True)
class Subject:
    """device: for `serve`. width: of the model, see `apps`."""

    device: str = SIM_DEVICE
    width: int = DEFAULT_WIDTH

    @property
    def torch_device(self) -> str:
        return self.device if self.device.startswith("cuda") else "cpu"

    @property
    def environment(self) -> dict[str, str]:
        return {WIDTH_VARIABLE: str(self.width), DEVICE_VARIABLE: self.torch_device}


@contextmanager
def with_dormouse(subject: Subject) -> Iterator[str]:
    """The base URL of `dormouse-modelserver serve` with the app."""
    options = ["--app", f"{_APPS}:create_app", "--device", subject.device, "--idle-timeout", "never"]
    command = [sys.executable, "-m", "dormouse_modelserver.cli", "serve", *options]
    with _running(command, subject) as url:
        yield url


@contextmanager
def without(subject: Subject) -> Iterator[str]:
    """The base URL of the same app under plain uvicorn."""
    options = ["--factory", "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", f"{_APPS}:create_plain_app", *options]
    with _running(command, subject) as url:
        yield url


@contextmanager
def _running(command: list[str], subject: Subject) -> Iterator[str]:
    port = _free_port()
    command, url = [*command, "--port", str(port)], f"http://127.0.0.1:{port}"
    environment = {**os.environ, **subject.environment}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/awake/1", timeout=30).status_code == 200
    except httpx.TransportError:
        return False
