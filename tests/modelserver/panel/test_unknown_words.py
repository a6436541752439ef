"""A page that somebody left open meets a newer server: words that it does not know are shown as they came."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.modelserver.server.serving_process import Serving

from .conftest import Visit, put

# Three that a newer server may well say, and names that every object of JavaScript has.
WORDS = ["Frozen", "constructor", "__proto__", "toString", "<b>Frozen</b>"]
LANGUAGES = ["en-GB", "zh-CN"]


def of_a_newer_server(state: dict[str, Any], word: str) -> dict[str, Any]:
    """The state, with one word in the place of each that the page has a name for."""
    model = next(model for model in state["models"] if model["name"] == "tts")
    ended = {"from": word, "to": word, "trigger": word, "outcome": word, "reason": f"because of {word}"}
    model["residency"] = word
    model["recent"] = [{**ended, "time": state["now"], "seconds": 1.5, "releasedBytes": 0}, *model["recent"]]
    model["transition"] = {"from": "GPU", "to": word, "trigger": word, "startedAt": state["now"]}
    state["notReadyBecause"] = word
    state["models"].append({**model, "name": "next", "transition": None, "nextMove": _next(state, word), "inFlight": 0})
    return state


def _next(state: dict[str, Any], word: str) -> dict[str, Any]:
    return {"to": word, "at": state["now"] + 600, "since": state["now"]}


def newer(page: Page, word: str) -> None:
    """The server behind the page is a newer one from now on, without a free live stream."""

    def state(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=json.dumps(of_a_newer_server(answer.json(), word)))

    page.route("**/v1/events", lambda route: route.fulfill(status=503))
    page.route("**/v1/panel", state)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("word", WORDS)
def test_an_unknown_word_is_shown_as_it_came(server: Serving, visit: Visit, word: str, language: str) -> None:
    put(server, "tts", "residency", desired="CPU").raise_for_status()
    panel = visit(server, locale=language)
    newer(panel.page, word)
    panel.page.reload()
    expect(panel.page.locator("#live")).to_have_attribute("data-mode", "polling")
    expect(panel.page.locator("#live-text")).to_have_text(word)
    expect(panel.field("tts", "where")).to_have_text(word)
    expect(panel.field("tts", "next")).to_contain_text(f"→ {word}")
    expect(panel.field("next", "next")).to_contain_text(word)
    panel.field("tts", "history").locator("summary").click()
    first = panel.field("tts", "history").locator("li").first
    expect(first.locator(".move")).to_contain_text(f"{word} → {word}")
    expect(first.locator(".outcome")).to_have_text(word)
    expect(first).to_contain_text(f" · {word} · ")
    expect(panel.card("tts").locator(".state")).to_contain_text("❔")
    # The rest of the page is as it was, and it goes on.
    expect(panel.card("asr")).to_have_attribute("data-residency", "Unloaded")
    panel.press("tts", "unload")
    expect(panel.field("tts", "note")).not_to_be_empty()


def test_an_outcome_that_the_page_does_not_know_is_no_failure_to_it(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    newer(panel.page, "postponed")
    panel.page.reload()
    expect(panel.field("tts", "where")).to_have_text("postponed")
    expect(panel.field("tts", "note")).to_be_empty()
    expect(panel.page.locator("#announcer")).not_to_contain_text("did not happen")


def test_the_live_stream_may_bring_them_too(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    state = of_a_newer_server(server.get("/dormouse/v1/panel").json(), "Frozen")
    stream = f"event: state\ndata: {json.dumps(state)}\n\n"
    panel.page.route("**/v1/events", lambda route: route.fulfill(body=stream, content_type="text/event-stream"))
    panel.page.reload()
    expect(panel.field("tts", "where")).to_have_text("Frozen")
