"""An action that can't be done says why, in words and in the reader's language; nothing of it can become markup."""

import threading

import httpx
import pytest
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving
from tests.waiting import until

from .conftest import Visit, put

IN_USE = {
    "en": "Not moved: in use by 2 requests, 0 waiting. Ask again when it is idle.",
    "zh-CN": "未移动：有 2 个请求正在使用，0 个在等待。请在空闲时再试。",
}
CHANGED = {
    "en": "Changed since its load: 'weight' (other values)",
    "zh-CN": "加载后已更改：'weight' (other values)",
}
DIRTY = {"en": "the weights were changed", "zh-CN": "权重在加载之后被更改"}


def in_flight(server: Serving, model: str) -> int:
    return int(server.get(f"/dormouse/v1/models/{model}").json()["inFlight"])


@pytest.mark.parametrize("language", IN_USE)
def test_in_use_by_two_requests(server: Serving, visit: Visit, language: str) -> None:
    panel = visit(server, locale=language)
    hold = f"{server.url}/hold/tts"
    holds = [threading.Thread(target=httpx.get, args=(hold,), kwargs={"timeout": 60}) for _ in range(2)]
    try:
        for thread in holds:
            thread.start()
        until(lambda: in_flight(server, "tts") == 2, 20)
        panel.shows("tts", "GPU")
        expect(panel.card("tts").locator("[data-fact=inFlight]")).to_have_text("2")
        panel.press("tts", "offload")
        expect(panel.field("tts", "note")).to_have_text(IN_USE[language])
        panel.press("tts", "unload")
        expect(panel.field("tts", "note")).to_have_text(IN_USE[language])
        panel.shows("tts", "GPU")
    finally:
        server.get("/end/tts")
        for thread in holds:
            thread.join(20)
    assert in_flight(server, "tts") == 0


@pytest.mark.parametrize("language", DIRTY)
def test_changed_weights_are_not_released(server: Serving, visit: Visit, language: str) -> None:
    server.get("/change/asr").raise_for_status()
    panel = visit(server, locale=language)
    try:
        panel.press("asr", "offload")
        panel.shows("asr", "CPU")
        panel.press("asr", "unload")
        expect(panel.field("asr", "note")).to_contain_text(DIRTY[language])
        expect(panel.field("asr", "changed")).to_have_text(CHANGED[language])
        panel.card("asr").locator("[data-field=history] summary").click()
        expect(panel.card("asr").locator("ol.history li").first).to_have_attribute("data-outcome", "refused")
        panel.shows("asr", "CPU")
    finally:
        server.get("/restore/asr").raise_for_status()


def test_no_room_is_said_with_figures(server: Serving, visit: Visit) -> None:
    for model in ("tts", "asr"):
        server.get(f"/use/{model}").raise_for_status()
        # Pinned, or they would make room.
        put(server, model, "pin", pinned=True).raise_for_status()
    panel = visit(server)
    panel.press("big", "wake")
    expect(panel.field("big", "note")).to_have_text(
        "No room: 625 KiB are needed and 368 KiB are free. Nothing was moved. Let another model sleep and ask again."
    )
    panel.shows("big", "CPU")


def test_a_reason_is_text_whatever_it_says(server: Serving, visit: Visit) -> None:
    attack = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
    put(server, "tts", "residency", desired="CPU", reason=attack).raise_for_status()
    panel = visit(server)
    panel.card("tts").locator("[data-field=history] summary").click()
    expect(panel.card("tts").locator(".reason").first).to_have_text(attack)
    assert panel.card("tts").locator("img, script").count() == 0
    assert panel.page.evaluate("window.attacked") is None


def test_a_server_that_went_away_is_said(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    panel.page.context.set_offline(True)
    panel.press("tts", "wake")
    expect(panel.field("tts", "note")).to_contain_text("The server did not answer")
    panel.page.context.set_offline(False)
    panel.press("tts", "wake")
    panel.shows("tts", "GPU")
    panel.problems[:] = [said for said in panel.problems if "ERR_INTERNET_DISCONNECTED" not in said]
