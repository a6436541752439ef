"""A model server with several models of some size, for the pictures in docs/console.md."""

import torch
from dormouse_modelserver import ResidencyManager
from fastapi import FastAPI

MEBIBYTES = {"asr": 270, "tts": 480, "translator": 390, "vocoder": 60, "embedder": 310, "reranker": 210}


def of(mebibytes: int) -> torch.nn.Module:
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 1024, mebibytes * 256, bias=False)
    torch.nn.init.ones_(layer.weight)
    return layer


def create_app(residency: ResidencyManager) -> FastAPI:
    torch.set_num_threads(1)
    for name, mebibytes in MEBIBYTES.items():
        residency.register(name, load=lambda mebibytes=mebibytes: of(mebibytes))
    app = FastAPI()

    @app.get("/use/{name}")
    async def use(name: str) -> str:
        async with residency[name].on_gpu():
            return "used"

    return app
