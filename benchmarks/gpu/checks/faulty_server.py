"""An app whose use fails on the device, asked in order: `python -m … out-of-memory|failed-kernel DEVICE`.

Prints a line of JSON for each question: what was asked, the status, and the words of the answer.
"""

import asyncio
import json
import os
import sys
from typing import Any

import httpx
import torch
from dormouse_contract.ports import Port
from dormouse_modelserver import Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.server.routes import probe_router
from fastapi import FastAPI

from .models import ask, plain, ready


class Server:
    """One model behind one app, in this process: the client needs no port."""

    def __init__(self, fault: str, device: str) -> None:
        self.residency = ResidencyManager(device, socket="", gpu_arbiter="")
        self._model = self.residency.register("it", plain(16 << 20), mirror="keep")
        self._fault = fault
        self.app = FastAPI()

        @self.app.get("/ask")
        def answer() -> float:
            with self._model.on_gpu() as held:
                return float(ask(held).double().sum())

        @self.app.get("/fault")
        def break_it() -> float:
            with self._model.on_gpu() as held:
                self._break(held)
                return float(ask(held).double().sum())

        @self.app.get("/sleep")
        def sleep() -> str:
            self._model.move_to(Residency.CPU)
            return "asleep"

        self.residency.install(self.app)
        self.app.include_router(probe_router(self.residency))

    def _break(self, model: torch.nn.Module) -> None:
        device = self.residency.device
        if self._fault == "out-of-memory":
            if isinstance(device, SimDevice):
                raise torch.OutOfMemoryError("simulated: more than the device has")
            torch.empty(4 * device.memory().total, dtype=torch.uint8, device=device.torch_device)
        elif isinstance(device, SimDevice):
            device.run_late(_failing_kernel)
            device.synchronize()
        else:
            # An index that no row has: the kernel's assert fails on the device, and the context with it.
            wrong = torch.tensor([1 << 20], device=device.torch_device)
            torch.ones(8, device=device.torch_device).index_select(0, wrong)
            torch.cuda.synchronize(device.torch_device)


def _failing_kernel() -> None:
    raise RuntimeError("simulated: device-side assert triggered")


async def questions(server: Server) -> None:
    transport = httpx.ASGITransport(app=server.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{Port.SERVE}", timeout=30) as http:
        right: float | None = None
        for step, path in (
            ("first", "/ask"),
            ("fault", "/fault"),
            ("next", "/ask"),
            ("sleep", "/sleep"),
            ("again", "/ask"),
            ("health", "/healthz"),
            ("models", "/dormouse/v1/models"),
            ("metrics", "/dormouse/metrics"),
            ("page", "/dormouse/"),
        ):
            answer = await http.get(path)
            value = answer.json() if path == "/ask" and answer.status_code == 200 else None
            right = value if right is None else right
            said: dict[str, Any] = {"step": step, "status": answer.status_code, "right": value == right}
            print(json.dumps({**said, "said": f"{answer.status_code} {_words(answer)}"}), flush=True)  # noqa: T201


def _words(answer: httpx.Response) -> str:
    """Short: the problem's sentence, or the beginning."""
    try:
        content = answer.json()
    except ValueError:
        return answer.text.strip()[:80]
    return str(content.get("detail", content))[:300] if isinstance(content, dict) else str(content)


def main(arguments: list[str]) -> int:
    fault, device = arguments
    ready(device)
    asyncio.run(questions(Server(fault, device)))
    sys.stdout.flush()
    os._exit(0)  # on a broken device the interpreter's own end may hang


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
