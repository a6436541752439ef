"""A gradio app whose function uses a model, called as its page calls it, on a device that refuses to mix."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from dormouse_modelserver import Residency, ResidencyManager
from fastapi import FastAPI

from tests.waiting import until

from .tiny import seeded, text_classification

CYCLES = 200
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def no_open_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """gradio leaves event loops open, and another test would be blamed for it."""
    made: list[asyncio.AbstractEventLoop] = []
    real = asyncio.DefaultEventLoopPolicy.new_event_loop

    def new_event_loop(policy: asyncio.DefaultEventLoopPolicy) -> asyncio.AbstractEventLoop:
        made.append(real(policy))
        return made[-1]

    monkeypatch.setattr(asyncio.DefaultEventLoopPolicy, "new_event_loop", new_event_loop)
    yield
    for loop in made:
        if not loop.is_running():
            loop.close()


@pytest.fixture
def manager(no_open_loops: None) -> ResidencyManager:
    manager = ResidencyManager("sim-strict:1GiB")
    manager.register("classifier", lambda: seeded(text_classification))
    return manager


@pytest.fixture
def address(manager: ResidencyManager) -> Iterator[str]:
    import gradio as gr

    @manager["classifier"].uses_gpu
    def classify(pipe: Any, text: str) -> float:
        return float(pipe(text)[0]["score"])

    with gr.Blocks() as demo:
        text, score = gr.Textbox(), gr.Number()
        text.submit(lambda said: classify(said), text, score, api_name="classify")
    app = FastAPI()
    manager.install(app)
    app = gr.mount_gradio_app(app, demo, path="/")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        serving = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        serving.start()
        until(lambda: server.started, 60)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        serving.join(30)
        assert not serving.is_alive()


def test_it_answers_as_without_dormouse_after_each_of_two_hundred_sleeps(
    manager: ResidencyManager, address: str
) -> None:
    from gradio_client import Client

    right = float(seeded(text_classification)("w5 w6")[0]["score"])
    client = Client(address, verbose=False)
    for _ in range(CYCLES):
        assert client.predict("w5 w6", api_name="/classify") == right
        manager["classifier"].move_to(Residency.CPU)
    client.close()
    assert manager.device.memory().used == 0
