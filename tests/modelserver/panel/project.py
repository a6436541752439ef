"""A user's project for the page: models whose use can be held open, and changed, from a test."""

from pathlib import Path

SOURCE = '''
import asyncio
import torch
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

def load(size):
    def layer():
        torch.manual_seed(0)
        return torch.nn.Linear(size, size, bias=False)
    return layer

load_tts = load(256)
ends = {}

def create_app(residency):
    app = FastAPI()
    # Little room beside them: together they don't fit.
    residency.register("tts", load=load_tts, idle_timeout=600, unload_timeout=7200)
    residency.register("asr", load=load(320))
    residency.register("big", load=load(400))

    @app.get("/use/{name}")
    async def use(name: str) -> str:
        async with residency[name].on_gpu():
            return "used"

    @app.get("/hold/{name}")
    async def hold(name: str) -> str:
        end = ends.setdefault(name, asyncio.Event())
        async with residency[name].on_gpu():
            await end.wait()
        return "held"

    @app.get("/end/{name}")
    async def end(name: str) -> str:
        ends.pop(name).set()
        return "ended"

    @app.get("/change/{name}")
    async def change(name: str) -> str:
        async with residency[name].on_gpu() as model:
            with torch.no_grad():
                model.weight[0, 0] += 1
        return "changed"

    @app.get("/restore/{name}")
    async def restore(name: str) -> str:
        async with residency[name].on_gpu() as model:
            with torch.no_grad():
                model.weight.copy_(load(model.in_features)().weight)
        return "restored"

    return app

def app_of_mine():
    """The page in an app that has another one mounted at its root, as Gradio does."""
    from dormouse_modelserver import ResidencyManager
    residency = ResidencyManager("sim:1MiB")
    residency.register("tts", load=load_tts)
    app = FastAPI()
    app.mount("/", PlainTextResponse("the app"))
    residency.install(app, prefix="/sleep")
    return app
'''


def written_to(folder: Path) -> Path:
    (folder / "panel_project.py").write_text(SOURCE)
    return folder
