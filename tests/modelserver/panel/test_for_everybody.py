"""The page on a phone, by keyboard, read aloud, in the dark and with little motion; and both languages complete."""

import itertools
import json
import re

import pytest
from dormouse_webkit.pages import page_of
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving

from .conftest import Visit, put

FILES = page_of("dormouse_modelserver.server.panel").files
STRINGS: dict[str, dict[str, str]] = json.loads(FILES["strings.json"].content)
NAMELESS = """() => [...document.querySelectorAll("button, input, a, summary")].filter((node) => {
    const label = node.labels?.[0]?.textContent ?? "";
    return !((node.getAttribute("aria-label") ?? "") + node.textContent + label).trim();
}).map((node) => node.outerHTML)"""
TWICE = """() => {
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    return ids.filter((id, index) => ids.indexOf(id) !== index);
}"""
# The contrast of each text with the nearest ground that is painted behind it (WCAG 2, relative luminance).
FAINT = """() => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const painted = numbers(getComputedStyle(at).backgroundColor);
            if (painted[3] !== 0) return painted;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll("body *")].filter((node) =>
        [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())
        && node.checkVisibility() && !node.closest(".unseen, svg, .emoji")
    ).map((node) => {
        const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.trim()];
    }).filter(([contrast]) => contrast < 4.5);
}"""


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(server: Serving, visit: Visit, width: int, language: str) -> None:
    long = "a reason " + "without_any_gap_" * 40
    put(server, "tts", "residency", desired="GPU", reason=long).raise_for_status()
    put(server, "tts", "pin", pinned=True).raise_for_status()
    panel = visit(server, viewport={"width": width, "height": 800}, locale=language)
    panel.shows("tts", "GPU")
    panel.card("tts").locator("[data-field=history] summary").click()
    expect(panel.card("tts").locator(".reason").first).to_be_visible()
    assert panel.page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "(width) => [...document.querySelectorAll('body *')].filter((n) => n.checkVisibility() && "
    wide += "!n.closest('.unseen, .skip') && n.getBoundingClientRect().right > width + 0.5).map((n) => n.outerHTML)"
    assert panel.page.evaluate(wide, width) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(server: Serving, visit: Visit, scheme: str) -> None:
    put(server, "tts", "residency", desired="GPU").raise_for_status()
    put(server, "tts", "pin", pinned=True).raise_for_status()
    panel = visit(server, color_scheme=scheme)
    panel.shows("tts", "GPU")
    assert panel.page.evaluate(FAINT) == []
    ground = panel.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) is (scheme == "dark")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_everything_has_a_name_and_a_place(server: Serving, visit: Visit, language: str) -> None:
    page = visit(server, locale=language).page
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(TWICE) == []
    assert page.locator("html").get_attribute("lang") == language
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    assert page.locator("[aria-live]").count() == 1, "one voice"
    names = [button.aria_snapshot() for button in page.get_by_role("button").all()]
    assert len(set(names)) == len(names), "no two buttons are called the same"
    headings = page.locator("h1, h2, h3").evaluate_all("(all) => all.map((h) => Number(h.tagName[1]))")
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_by_keyboard_from_the_skip_link_to_the_last_button(server: Serving, visit: Visit) -> None:
    page = visit(server).page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the models")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the models")).to_be_in_viewport()
    page.keyboard.press("Enter")
    reached = []
    for _ in range(18):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                const node = document.activeElement, style = getComputedStyle(node);
                return [node.dataset.action ?? node.localName, style.outlineStyle, style.outlineWidth];
            }"""
            )
        )
    assert [name for name, _, _ in reached] == ["wake", "offload", "unload", "pin", "summary", "summary"] * 3
    assert {(style, width) for _, style, width in reached} == {("solid", "2px")}, "focus can be seen"


def test_the_voice_is_silent_while_seconds_pass(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    panel.press("tts", "wake")
    panel.shows("tts", "GPU")
    page = panel.page
    page.evaluate(
        """() => {
            window.spoken = 0;
            new MutationObserver(() => window.spoken++).observe(document.getElementById("announcer"),
                {childList: true, characterData: true, subtree: true});
        }"""
    )
    before = panel.field("tts", "idle").text_content() or ""
    for _ in range(2):
        expect(panel.field("tts", "idle")).not_to_have_text(before)
        before = panel.field("tts", "idle").text_content() or ""
    assert page.evaluate("window.spoken") == 0


def test_little_motion_for_who_asks_for_it(server: Serving, visit: Visit) -> None:
    panel = visit(server, reduced_motion="reduce")
    moving = "getComputedStyle(document.querySelector('.left')).transitionDuration"
    assert panel.page.evaluate(moving) == "0s"


def test_both_languages_say_everything_with_the_same_figures() -> None:
    english, chinese = STRINGS["en"], STRINGS["zh-CN"]
    assert list(english) == list(chinese)
    for key, sentence in english.items():
        figures = [set(re.findall(r"\{(\w+)", text)) for text in (sentence, chinese[key])]
        assert figures[0] == figures[1], key
    same = {key for key in english if english[key] == chinese[key]}
    assert same == {"version", "gpu", "tierGPU", "tierCPU", "holderPid", "historyMove", "below", "gibHours"}


def test_each_sentence_is_used_and_each_used_one_is_there() -> None:
    sources = "\n".join(file.content.decode() for name, file in FILES.items() if name.endswith(("js", "html")))
    called = set(re.findall(r'\bt\(\s*"(\w+)"', sources)) | set(re.findall(r'data-(?:text|label)="(\w+)"', sources))
    assert called <= set(STRINGS["en"])
    families = ("state", "tier", "trigger", "outcome", "chart", "next", "notReady")
    words = set(re.findall(r'"(\w+)"', sources))
    assert {key for key in STRINGS["en"] if key not in words and not key.startswith(families)} <= {
        "live",
        "connecting",
        "polling",
        "lost",
    }


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    for name, file in FILES.items():
        text = file.content.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        assert "innerHTML" not in text.replace("There is no innerHTML", ""), name
    index = FILES["index.html"].content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", index)
