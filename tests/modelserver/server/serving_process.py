"""`dormouse-modelserver serve` as a real process, with a project of its own to serve."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import httpx

from tests.waiting import until

PROJECT = '''
"""A user's project: two models, some apps, and things that are none."""
import asyncio
import torch
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

def load_tts():
    print("LOADED", flush=True)
    layer = torch.nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight.copy_(2 * torch.eye(4)); layer.bias.fill_(1)
    return layer

not_callable = 5

def create_app(residency):
    app = FastAPI()
    tts = residency["tts"]
    @app.get("/slow")
    async def slow() -> str:
        print("BEGAN", flush=True)
        await asyncio.sleep(1)
        return "done"
    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())
    @app.get("/say/{value}")
    async def say(value: float) -> float:
        async with tts.on_gpu() as model:
            with torch.inference_mode():
                return float(model(torch.full((1, 4), value))[0, 0])
    return app

def create_app_with_metrics(residency):
    app = create_app(residency)
    @app.get("/metrics")
    def metrics():
        return PlainTextResponse("mine 1\\n")
    return app
'''
_STARTS_WITHIN_SECONDS = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(project: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GPU_", "DORMOUSE_", "PORT", "PROJECT_DIR"))}
    return {**kept, "PROJECT_DIR": str(project), "PYTHONUNBUFFERED": "1", **more}


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("dormouse-modelserver")), *arguments]


class Serving:
    """A running server; what it writes is in `log`."""

    def __init__(self, project: Path, *arguments: str, **more: str) -> None:
        self.port = int(more.setdefault("PORT", str(free_port())))
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            self.command(*arguments),
            env=environment(project, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def command(self, *arguments: str) -> list[str]:
        return command("serve", *arguments)

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    def put(self, model: str, desired: str) -> httpx.Response:
        body = {"desired": desired}
        return httpx.put(f"{self.url}/dormouse/v1/models/{model}/residency", json=body, timeout=20)

    def residency(self, model: str = "tts") -> str:
        return str(self.get(f"/dormouse/v1/models/{model}").json()["residency"])

    def metric(self, series: str) -> float:
        """The value of one series as `/metrics` writes it, for example `dormouse_held_requests{model="tts"}`."""
        for line in self.get("/dormouse/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        raise AssertionError(f"there is no {series}")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20, follow_redirects=True)

    def __enter__(self) -> "Serving":
        try:
            until(self._ready, _STARTS_WITHIN_SECONDS)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.get("/dormouse/v1/models").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._reader.join(10)
        return code

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
