"""A model server with a model that loads in milliseconds, for tests of everything around it."""

import os

import torch
from dormouse_modelserver import ResidencyManager
from fastapi import FastAPI

FEATURES = 256


def load() -> torch.nn.Module:
    torch.manual_seed(7)
    layers = [torch.nn.Linear(FEATURES, FEATURES), torch.nn.Tanh(), torch.nn.Linear(FEATURES, FEATURES)]
    return torch.nn.Sequential(*layers).eval()


def create_app(residency: ResidencyManager) -> FastAPI:
    torch.set_num_threads(1)
    model = residency.register(os.environ.get("TINY_MODEL", "tiny"), load=load)
    app = FastAPI()

    @app.get("/ask/{number}")
    def ask(number: int) -> list[float]:
        with model.on_gpu() as network, torch.inference_mode():
            answer: list[float] = network(torch.full((FEATURES,), float(number))).tolist()
        return answer

    @app.post("/merge")
    def merge() -> None:
        """As PEFT merges a LoRA: the version counter does not move."""
        with model.on_gpu() as network:
            network[0].weight.data += 0.5

    return app
