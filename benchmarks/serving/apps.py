"""One app twice: with Dormouse, and as it would be without. The route, the model and the threads are the same.

The environment names the model's width and the device to the servers' processes.
"""

import copy
import functools
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from dormouse_modelserver import ResidencyManager
from fastapi import FastAPI
from torch import nn

# Of a layer: 12 × width² weights, so 128 is a toy of 1.6 MB and 4096 has 1.6 GB in two layers.
WIDTH_VARIABLE, DEVICE_VARIABLE = "DORMOUSE_BENCHMARK_WIDTH", "DORMOUSE_BENCHMARK_DEVICE"
DEFAULT_WIDTH = 128
# Four models in one server, each with its own patience (seconds): from "as soon as a task ends" to two seconds.
IDLE_TIMEOUTS_SECONDS = {"zero": 0.0, "half": 0.5, "one": 1.0, "two": 2.0}


def width() -> int:
    return int(os.environ.get(WIDTH_VARIABLE, DEFAULT_WIDTH))


def load() -> nn.Module:
    """The same weights each time; the toy takes about a millisecond for an answer on a CPU."""
    return copy.deepcopy(_made(width()))


@functools.cache
def _made(width: int) -> nn.Module:
    """Drawing the values of a large model takes longer than copying them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def answer(model: nn.Module, value: int) -> float:
    """One number that depends on every weight."""
    first = next(model.parameters())
    with torch.inference_mode():
        question = torch.full((1, 8, first.shape[1]), value / 1000.0, device=first.device)
        question[..., ::2] *= -1
        return float(model(question).double().sum())


def _app(held: Mapping[str, Callable[[], AbstractContextManager[nn.Module, bool | None]]]) -> FastAPI:
    torch.set_num_threads(1)
    app = FastAPI(openapi_url=None)

    @app.get("/{model}/{value}")
    def ask(model: str, value: int) -> float:
        with held[model]() as module:
            return answer(module, value)

    return app


def create_app(residency: ResidencyManager) -> FastAPI:
    """For `serve`: `awake` never sleeps, the others as their timeouts say."""
    held = {"awake": residency.register("awake", load, idle_timeout=float("inf")).on_gpu}
    for name, seconds in IDLE_TIMEOUTS_SECONDS.items():
        held[name] = residency.register(name, load, idle_timeout=seconds, unload_timeout=seconds + 2).on_gpu
    return _app(held)


def create_plain_app() -> FastAPI:
    """Without Dormouse."""
    module = load().to(os.environ.get(DEVICE_VARIABLE, "cpu"))
    return _app({"awake": lambda: nullcontext(module)})
