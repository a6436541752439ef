"""The console's page and `kubectl dormouse` meet a newer operator: words they don't know are shown as they came.

The page is served as it is; what it asks for is answered here, as an API server of tomorrow would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from dormouse_console.app import create_app
from dormouse_console.callers import LocalCallers
from dormouse_console.plugin.printed import explained, top
from dormouse_console.timeseries import TimeSeries
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, Route, expect

from localcluster.ports import reserve_port
from tests.waiting import until

WORDS = ["Frozen", "constructor", "__proto__", "toString", "<b>Frozen</b>", 'a"]quote']
NOW = 1_790_000_000.0
COLUMNS = "namespace name residency desired ready reason mode gpu total released movedTo movedAt trigger message"


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The console below a prefix, without a cluster behind it."""
    app = FastAPI()
    console = create_app(LocalCallers(httpx.AsyncClient(), "key"), TimeSeries(None))
    app.mount("/fleet/dormouse", console)
    port = reserve_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, 30)
    yield f"http://127.0.0.1:{port}/fleet/dormouse/"
    server.should_exit = True
    thread.join(10)


def fleet(word: str) -> dict[str, Any]:
    new = ["speech", "tts", word, word, word, word, word, 1, 2, None, word, NOW - 60, word, f"because of {word}"]
    known = ["speech", "asr", "CPU", "CPU", "True", "AsDesired", "Active", 0, 1, "1Gi", "CPU", NOW - 60, "Idle", "idle"]
    columns = [*COLUMNS.split(), "override", "overrideUntil"]
    rows = [[*new, word, None], [*known, "Auto", None]]
    return {"now": NOW, "columns": columns, "rows": rows, "idle": {"speech/asr": NOW - 90}, "problem": ""}


def model(word: str) -> dict[str, Any]:
    listed = fleet(word)
    window = {"name": "night", "cron": "0 8 * * *", "timeZone": "UTC", "durationSeconds": 60, "residency": word}
    return {
        **dict(zip(listed["columns"], listed["rows"][0], strict=True)),
        "now": NOW,
        "model": "tts",
        "selector": {"app": "tts"},
        "policy": {"offloadAfterSeconds": 600, "schedule": [window]},
        "conditions": [{"type": word, "status": word, "reason": word, "message": word}],
        "lastTransition": {"from": word, "to": word, "trigger": word, "message": f"because of {word}"},
        "created": NOW,
        "visited": True,
        "upToDate": True,
        "events": [],
        "eventsProblem": "",
        "mayChange": True,
    }


def replicas(word: str) -> dict[str, Any]:
    replica = {"pod": "tts-0", "model": "tts", "residency": word, "device": word, "decision": word, "nextLookAt": None}
    figures = dict.fromkeys(("gpuBytes", "hostBytes", "releasedBytes", "idleSince", "restoreSeconds"))
    runs = [[NOW - 900, NOW - 600, "GPU"], [NOW - 600, NOW, word]]
    return {
        "now": NOW,
        "start": NOW - 900,
        "end": NOW,
        "podsProblem": "",
        "problem": "",
        "pods": [{"name": "tts-0", "node": "n", "phase": word, "ready": False}],
        "replicas": [{**replica, **figures, "inFlight": 0}],
        "timeline": [{"pod": "tts-0", "model": "tts", "runs": runs}],
    }


def answer(route: Route, word: str) -> None:
    path = route.request.url.partition("/api/")[2].partition("?")[0]
    answers: dict[str, dict[str, Any]] = {
        "session": {"user": "anna", "local": True, "prometheus": True, "version": "9.0.0"},
        "fleet": fleet(word),
        "savings": {"problem": "none today"},
        "models/speech/tts": model(word),
        "models/speech/tts/replicas": replicas(word),
    }
    route.fulfill(body=json.dumps(answers[path]), content_type="application/json")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    problems: list[str] = []
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("word", WORDS)
def test_an_unknown_word_is_shown_as_it_came(page: Page, served: str, word: str, language: str) -> None:
    page.route("**/api/**", lambda route: answer(route, word))
    page.add_init_script(f"localStorage.setItem('dormouse.language', '{language}')")
    page.goto(f"{served}#key=key")
    row = page.locator(".row[data-key='speech/tts']")
    for column in ("residency", "desired", "mode", "ready"):
        expect(row.locator(f".{column}")).to_contain_text(word)
    expect(row.locator(".moved")).to_contain_text(f"→ {word}")
    expect(page.locator(".row[data-key='speech/asr'] .residency")).to_contain_text("🟡")
    for column in ("residency", "desired", "moved", "mode", "name"):
        page.locator(f"[data-sort={column}]").click()
    chip = page.locator(".chips button").filter(has_text=word)
    chip.click()
    expect(page.locator(".rows .name a")).to_have_text(["tts"])
    expect(chip).to_be_focused()
    page.get_by_role("link", name="tts", exact=True).click()
    expect(page.locator("[data-part=where]")).to_have_text(f"❔ {word}")
    expect(page.locator("[data-part=why]")).to_contain_text(f"{word} → {word}")
    expect(page.locator("[data-part=badges]")).to_contain_text(word)
    expect(page.locator("[data-part=override]")).to_contain_text(word)
    expect(page.locator("[data-part=policy]")).to_contain_text(word)
    expect(page.locator(".strip")).to_contain_text(f"GPU 33%, {word} 67%")
    expect(page.locator("tr[data-pod=tts-0]")).to_contain_text(f"❔ {word}")
    expect(page.locator("[data-part=conditions]")).to_contain_text(word)


def body(word: str) -> dict[str, Any]:
    moved = {"from": word, "to": word, "time": "1970-01-01T00:10:00Z", "trigger": word, "message": f"because of {word}"}
    ready = {"type": "Ready", "status": word, "reason": word, "message": word}
    window = {"name": "night", "cron": "0 8 * * *", "timeZone": "UTC", "durationSeconds": 60, "residency": word}
    return {
        "metadata": {"namespace": "speech", "name": "tts", "generation": 2},
        "spec": {
            "selector": {"matchLabels": {"app": "tts"}},
            "mode": word,
            "residency": word,
            "policy": {"offloadAfterSeconds": 600, "schedule": [window]},
        },
        "status": {
            "observedGeneration": 2,
            "residency": word,
            "desiredResidency": word,
            "conditions": [ready],
            "lastTransition": moved,
        },
    }


@pytest.mark.parametrize("word", WORDS)
def test_the_table_in_a_terminal_shows_it_as_it_came(word: str) -> None:
    table = top([body(word)], 660.0, with_namespace=True, colours=True)
    assert f"{word} 1m ago ({word})" in table
    assert table.splitlines()[1].count(word) == 7


@pytest.mark.parametrize("word", WORDS)
def test_an_explanation_in_a_terminal_says_it_as_it_came(word: str) -> None:
    replica = {"pod": "tts-0", "model": "tts", "residency": word, "decision": word, "nextLookAt": None}
    said = explained(body(word), [replica], 660.0)
    assert f"speech/tts: ? {word}" in said
    assert f"{word} → {word} 1m ago ({word})" in said
    assert f"by hand {word}" in said
    assert f"at least {word} for 1m" in said
    assert f"Ready={word} ({word})" in said
    assert f"tts-0 tts: {word}; {word}" in said
    assert f"policy      {word}" in said
