"""The buttons on the embedding server of the examples: 90 MB of real weights, and the same answer after each."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving

from .conftest import Visit

ROOT = Path(__file__).parents[3]
WEIGHTS_BYTES = 80 << 20


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Serving]:
    arguments = ("--app", "examples.embedding_server:create_app", "--device", "sim:1GiB", "--idle-timeout", "3")
    with Serving(ROOT, *arguments) as server:
        yield server


def embedding(server: Serving) -> list[float]:
    body = {"input": "a dormouse sleeps"}
    answer = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=120).raise_for_status()
    return list(answer.json()["data"][0]["embedding"])


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_each_button_moves_it_and_no_answer_changes(embeddings: Serving, visit: Visit, language: str) -> None:
    panel = visit(embeddings, locale=language)
    before = embedding(embeddings)
    panel.shows("minilm", "GPU")
    panel.press("minilm", "pin")
    expect(panel.button("minilm", "pin")).to_have_attribute("aria-pressed", "true")
    for action, residency in [("offload", "CPU"), ("wake", "GPU"), ("unload", "Unloaded")]:
        panel.press("minilm", action)
        panel.shows("minilm", residency)
        assert embeddings.get("/dormouse/v1/models/minilm").json()["residency"] == residency
    assert embeddings.get("/dormouse/v1/models/minilm").json()["gpuMemoryReleasedBytes"] > WEIGHTS_BYTES
    assert embedding(embeddings) == before
    panel.shows("minilm", "GPU")

    panel.press("minilm", "pin")
    expect(panel.button("minilm", "pin")).to_have_attribute("aria-pressed", "false")
    panel.shows("minilm", "CPU")
    history = panel.card("minilm").locator("ol.history li").first
    panel.card("minilm").locator("[data-field=history] summary").click()
    expect(history).to_contain_text("MiB")
    expect(history).to_contain_text({"en": "idle", "zh-CN": "空闲"}[language])
