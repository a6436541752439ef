"""A use that lasts: the page says since when, from which thread and where, and lets a person end it."""

import threading
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Dialog, expect

from tests.modelserver.server.serving_process import Serving
from tests.waiting import until

from .conftest import Visit

WORDS = {
    "en": {"held": "held for", "risk": "may leave the GPU", "ended": "Done: it counts as a use no longer."},
    "zh-CN": {"held": "已占用", "risk": "可能离开 GPU", "ended": "完成：它不再计为使用。"},
}


def in_flight(server: Serving) -> int:
    return int(server.get("/dormouse/v1/models/tts").json()["inFlight"])


@pytest.mark.parametrize("language", WORDS)
def test_it_is_shown_and_can_be_ended(server: Serving, visit: Visit, project: Path, language: str) -> None:
    words, asked = WORDS[language], list[str]()
    holding = threading.Thread(target=lambda: httpx.get(f"{server.url}/hold/tts", timeout=120))
    holding.start()
    until(lambda: in_flight(server) == 1)
    panel = visit(server, locale=language)
    use = panel.card("tts").locator("[data-use]")
    expect(use).to_be_visible(timeout=60_000)
    expect(use).to_contain_text(words["held"])
    expect(use).to_contain_text("MainThread")
    expect(use).to_contain_text("panel_project.py:31")

    def dismiss(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    def accept(dialog: Dialog) -> None:
        dialog.accept()

    panel.page.once("dialog", dismiss)
    use.locator("button").click()
    assert words["risk"] in asked[0]
    assert "ModelNotHeld" in asked[0]
    assert in_flight(server) == 1, "nothing is ended before a person has agreed"
    panel.page.once("dialog", accept)
    use.locator("button").click()
    expect(panel.field("tts", "note")).to_have_text(words["ended"])
    expect(use).to_have_count(0)
    assert in_flight(server) == 0
    server.get("/end/tts")
    holding.join(20)
    assert in_flight(server) == 0, "its own end, later, counts nothing down"
    panel.press("tts", "offload")
    panel.shows("tts", "CPU")
