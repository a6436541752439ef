"""A model server with one model for each kind of trouble that an alert tells of, and one that is well.

calm: well. fails: its load raises. slow: its load takes longer than an alert allows. hangs: its load waits for
as long as a file is there. stays and shares: one module in two models, so that what the one releases the other
keeps on the device. And the process is told (the one fault put in) that it may use hardly more host RAM than
these weights take.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory
from dormouse_modelserver.server import exposition
from fastapi import FastAPI

from tests.loop.tiny_app import FEATURES
from tests.loop.tiny_app import load as load_tiny

SLOW_LOAD_SECONDS = 16.0
HANGING = "hanging"
MIB = 2**20


def create_app(residency: ResidencyManager) -> FastAPI:
    torch.set_num_threads(1)
    hanging = Path(os.environ["TROUBLE_FOLDER"]) / HANGING
    both = load_tiny()
    app = FastAPI()
    for name, load in {
        "calm": load_tiny,
        "fails": _raises,
        "slow": lambda: _after(SLOW_LOAD_SECONDS),
        "hangs": lambda: _while_there(hanging),
        "shares": lambda: both,
        "stays": lambda: both,
    }.items():
        _serve(app, residency, name, load)
    # calm, and both together, are half a MiB each.
    exposition.read_host_memory = lambda: HostMemory(budget=MIB, room=8 * MIB)  # type: ignore[attr-defined]
    return app


def _serve(app: FastAPI, residency: ResidencyManager, name: str, load: Callable[[], torch.nn.Module]) -> None:
    model = residency.register(name, load=load)

    @app.get(f"/ask/{name}")
    def ask() -> list[float]:
        with model.on_gpu() as network, torch.inference_mode():
            answer: list[float] = network(torch.ones(FEATURES)).tolist()
        return answer


def _raises() -> torch.nn.Module:
    raise FileNotFoundError("the weights were moved away")


def _after(seconds: float) -> torch.nn.Module:
    time.sleep(seconds)
    return load_tiny()


def _while_there(file: Path) -> torch.nn.Module:
    while file.exists():
        time.sleep(0.05)
    return load_tiny()
