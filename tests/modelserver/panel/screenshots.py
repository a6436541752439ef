"""Takes the pictures of docs/panel.md from a running server, after some minutes of use: nothing in them is made up.

python -m tests.modelserver.panel.screenshots
"""

import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, expect

from tests.modelserver.server.serving_process import Serving
from tests.waiting import until

from .browser import Panel, launched

IMAGES = Path(__file__).parents[3] / "docs" / "images"
USE_SECONDS = 210.0
SOURCE = """
import asyncio
import torch
from fastapi import FastAPI

def load(mebibytes):
    def layer():
        return torch.nn.utils.skip_init(torch.nn.Linear, 1024, mebibytes * 256, bias=False)
    def filled():
        made = layer()
        torch.nn.init.ones_(made.weight)
        return made
    return filled

load_embedder = load(310)

def create_app(residency):
    app = FastAPI()
    residency.register("tts", load=load(480), idle_timeout=600, unload_timeout=7200)
    residency.register("asr", load=load(270), idle_timeout=300, unload_timeout=3600)
    residency.register("translator", load=load(390), idle_timeout=20)
    residency.register("vocoder", load=load(60), idle_timeout=120, unload_timeout=600)

    @app.get("/use/{name}")
    async def use(name: str, seconds: float = 0, change: bool = False) -> str:
        async with residency[name].on_gpu() as model:
            await asyncio.sleep(seconds)
            if change:
                model.weight.data[0, 0] += 1
        return "used"

    return app
"""
CONTEXTS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 940, "height": 900}},
    "dark": {"viewport": {"width": 940, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 1500}, "device_scale_factor": 1.5},
}
LANGUAGES = {"en": "en-GB", "zh": "zh-CN"}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "studio.py").write_text(SOURCE)
        # Without a folder's name in the pictures.
        account = Path("/tmp/gpu")  # noqa: S108
        device = f"sim:2GiB@{account}"
        speech = Serving(project, "--app", "studio:create_app", "--device", device, "--idle-timeout", "never")
        neighbour = Serving(project, "--model", "embedder=studio:load_embedder", "--device", device)
        with speech, neighbour, launched() as browser:
            in_use = _use(speech, neighbour)
            try:
                for name, context in CONTEXTS.items():
                    for language, locale in LANGUAGES.items():
                        _take(browser, speech, f"panel-{name}-{language}.png", {**context, "locale": locale})
            finally:
                in_use.join(120)
                account.unlink(missing_ok=True)


def _use(speech: Serving, neighbour: Serving) -> threading.Thread:
    """Some minutes of a working day; at the end each model is in another state, and one is in use."""

    def ask(model: str, **query: Any) -> None:
        httpx.get(f"{speech.url}/use/{model}", params=query, timeout=120).raise_for_status()

    def order(server: Serving, model: str, **body: Any) -> None:
        httpx.put(f"{server.url}/dormouse/v1/models/{model}/residency", json=body, timeout=60)

    ends = time.monotonic() + USE_SECONDS
    while time.monotonic() < ends:
        ask("translator", seconds=2)
        ask("asr", seconds=4)
        order(neighbour, "embedder", desired="GPU")
        ask("tts", seconds=12)
        order(speech, "asr", desired="CPU", reason="making room for the evening")
        ask("vocoder", seconds=6, change=True)
        order(neighbour, "embedder", desired="CPU")
        order(speech, "tts", desired="CPU")
        time.sleep(9)
    ask("tts")
    order(speech, "vocoder", desired="CPU")
    order(speech, "vocoder", desired="Unloaded")
    order(speech, "asr", desired="Unloaded", reason="nobody listens at night")
    order(neighbour, "embedder", desired="GPU")
    pin = f"{speech.url}/dormouse/v1/models/vocoder/pin"
    httpx.put(pin, json={"pinned": True}).raise_for_status()
    holding = threading.Thread(target=ask, args=("translator",), kwargs={"seconds": 60})
    holding.start()
    until(lambda: speech.get("/dormouse/v1/models/translator").json()["inFlight"] == 1, 30)
    return holding


def _take(browser: Browser, server: Serving, file: str, context: dict[str, Any]) -> None:
    page = browser.new_context(**context).new_page()
    panel = Panel(page).open(f"{server.url}/dormouse/")
    expect(page.locator("#chart svg")).to_be_visible()
    if "device_scale_factor" in context:
        panel.card("tts").locator("[data-field=history] summary").click()
    panel.press("translator", "offload")
    expect(panel.field("translator", "note")).not_to_be_empty()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    target = IMAGES / file
    # On a phone the first model is enough: the others look the same.
    page.screenshot(path=target, full_page="device_scale_factor" not in context, animations="disabled")
    subprocess.run(
        ["pngquant", "--force", "--skip-if-larger", "--strip", "--output", target, "256", target], check=True
    )
    assert panel.problems == []
    page.context.close()


if __name__ == "__main__":
    main()
