"""Every button, pressed in a browser on a running server, in both languages; the page shows what the server did."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving

from .conftest import DEVICE, Visit, put

WORDS = {
    "en": {
        "GPU": "On the simulated GPU",
        "CPU": "In host RAM",
        "Unloaded": "Not loaded",
        "pinned": "Pinned: stays where it is",
        "next": r"→ CPU in 9 min \d+ s",
        "refreshed": "Refreshed",
    },
    "zh-CN": {
        "GPU": "模拟 GPU 显存中",
        "CPU": "主机内存中",
        "Unloaded": "未加载",
        "pinned": "已固定：保持原位",
        "next": r"9 分 \d+ 秒后 → CPU",
        "refreshed": "已刷新",
    },
}
each_language = pytest.mark.parametrize("language", WORDS)


@each_language
def test_wake_offload_wake_release(server: Serving, visit: Visit, language: str) -> None:
    panel, words = visit(server, locale=language), WORDS[language]
    for action, residency in [("wake", "GPU"), ("offload", "CPU"), ("wake", "GPU"), ("unload", "Unloaded")]:
        panel.press("tts", action)
        panel.shows("tts", residency)
        expect(panel.field("tts", "where")).to_have_text(words[residency])
        assert server.get("/dormouse/v1/models/tts").json()["residency"] == residency
    moves = panel.card("tts").locator("ol.history li")
    panel.card("tts").locator("[data-field=history] summary").click()
    expect(moves.nth(0)).to_be_visible()
    expect(moves.nth(0)).to_contain_text("256 KiB")
    expect(moves.nth(0)).to_have_attribute("data-outcome", "ok")


@each_language
def test_pin_and_unpin(server: Serving, visit: Visit, language: str) -> None:
    panel, words = visit(server, locale=language), WORDS[language]
    panel.press("tts", "wake")
    expect(panel.field("tts", "next")).to_have_text(re.compile(words["next"]))
    panel.press("tts", "pin")
    expect(panel.field("tts", "next")).to_have_text(words["pinned"])
    expect(panel.button("tts", "pin")).to_have_attribute("aria-pressed", "true")
    assert server.get("/dormouse/v1/models/tts").json()["pinned"] is True
    panel.press("tts", "pin")
    expect(panel.field("tts", "next")).to_have_text(re.compile(words["next"]))
    assert server.get("/dormouse/v1/models/tts").json()["pinned"] is False


@each_language
def test_refresh_asks_the_server_and_says_so(server: Serving, visit: Visit, language: str) -> None:
    panel = visit(server, locale=language)
    with panel.page.expect_response(re.compile(r"/v1/panel$")):
        panel.page.click("#refresh")
    expect(panel.page.locator("#announcer")).to_have_text(WORDS[language]["refreshed"])


def test_what_happens_elsewhere_is_there_within_a_second(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    put(server, "asr", "residency", desired="GPU").raise_for_status()
    expect(panel.field("asr", "where")).to_have_text(WORDS["en"]["GPU"], timeout=3000)
    expect(panel.page.locator("#announcer")).to_contain_text("asr")


def test_the_figures_are_the_servers(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    panel.press("tts", "wake")
    panel.shows("tts", "GPU")
    panel.press("asr", "wake")
    panel.shows("asr", "GPU")
    panel.press("asr", "offload")
    panel.shows("asr", "CPU")
    seen = {model["name"]: model for model in server.get("/dormouse/v1/models").json()["models"]}
    assert (seen["tts"]["gpuMemoryBytes"], seen["asr"]["gpuMemoryReleasedBytes"]) == (256 * 1024, 400 * 1024)
    expect(panel.card("tts").locator("[data-fact=gpu]")).to_have_text("256 KiB")
    expect(panel.card("asr").locator("[data-fact=gpu]")).to_have_text("0 B")
    expect(panel.card("asr").locator("[data-fact=host]")).to_have_text("400 KiB")
    page = panel.page
    expect(page.locator("[data-tile=released] .figure")).to_have_text("400 KiB")
    expect(page.locator("[data-part=weights] dd")).to_have_text("256 KiB")
    expect(page.locator("[data-part=rest] dd")).to_have_text("0 B")
    expect(page.locator("[data-part=free] dd")).to_have_text("768 KiB")
    holder = page.locator(".holders tbody tr")
    expect(holder).to_have_count(1)
    expect(holder).to_contain_text(str(server.process.pid))
    expect(page.locator("#chart svg")).to_have_attribute("aria-label", re.compile("of 1 MiB now"))


def test_a_transition_shows_as_under_way(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    panel.page.evaluate(
        """() => {
            const card = document.querySelector("article[data-model=big]");
            window.seen = new Set();
            new MutationObserver(() => window.seen.add(card.dataset.residency)).observe(card, {attributes: true});
        }"""
    )
    panel.press("big", "wake")
    panel.shows("big", "GPU")
    assert panel.page.evaluate("[...window.seen].pop()") == "GPU"


def test_an_action_that_has_nothing_to_do_keeps_the_focus_and_says_so(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    panel.button("tts", "wake").focus()
    panel.page.keyboard.press("Enter")
    panel.shows("tts", "GPU")
    expect(panel.button("tts", "wake")).to_be_focused()
    expect(panel.button("tts", "wake")).to_have_attribute("aria-disabled", "true")
    panel.page.keyboard.press("Space")
    expect(panel.field("tts", "note")).to_have_text("tts is there already.")


def test_the_language_is_chosen_and_kept(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    document = panel.page.locator("html")
    expect(document).to_have_attribute("lang", "en")
    panel.page.click("[data-language=zh-CN]")
    expect(document).to_have_attribute("lang", "zh-CN")
    expect(panel.field("tts", "where")).to_have_text("未加载")
    panel.page.reload()
    expect(document).to_have_attribute("lang", "zh-CN")
    expect(panel.field("tts", "where")).to_have_text("未加载")


ADVICE = {"en": ("None yet", "Suggested: never", "in force"), "zh-CN": ("暂无", "建议：从不", "当前")}


@each_language
def test_advice_is_asked_for_when_it_is_opened(project: Path, visit: Visit, language: str) -> None:
    none, suggested, current = ADVICE[language]
    with Serving(project, "--app", "panel_project:create_app", "--device", DEVICE) as server:
        panel = visit(server, locale=language, viewport={"width": 360, "height": 800})
        advice = panel.field("tts", "advice")
        advice.locator("summary").click()
        expect(advice).to_contain_text(none)
        # More than ten a minute, over the minute that a rate is taken of at least.
        for _ in range(12):
            server.get("/use/tts").raise_for_status()
        advice.locator("summary").click()
        advice.locator("summary").click()
        expect(advice).to_contain_text(suggested)
        expect(advice.locator("tbody tr", has_text=current)).to_have_count(1)
        assert panel.page.evaluate("document.documentElement.scrollWidth") <= 360
        panel.page.context.close()
