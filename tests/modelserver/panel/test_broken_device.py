"""The page of a server whose device has failed: one clear line, nothing that nobody measured, and live all the same."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving
from tests.modelserver.server.test_broken_device import BREAKS
from tests.waiting import until

from .conftest import DEVICE, Visit
from .test_for_everybody import FAINT

SAID = {
    "en": (
        "The device failed, and this process can't use it any more (simulated: a kernel failed: device-side assert). "
        "What is in host RAM and on disk is unharmed. Restart the process.",
        "Not moved: the device failed.",
        "Nothing moves: the device failed",
    ),
    "zh-CN": (
        "设备已失效，本进程无法再使用它（simulated: a kernel failed: device-side assert）。"
        "主机内存和磁盘中的内容完好。请重启进程。",
        "未移动：设备已失效。",
        "不再迁移：设备已失效",
    ),
}


@pytest.fixture
def breakable(tmp_path: Path) -> Iterator[Serving]:
    (tmp_path / "breakable.py").write_text(BREAKS)
    arguments = ("--model", "tts=breakable:load_tts", "--app", "breakable:create_app", "--device", DEVICE)
    with Serving(tmp_path, *arguments, "--idle-timeout", "600") as server:
        yield server


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_an_open_page_says_that_the_process_must_be_restarted(breakable: Serving, visit: Visit, language: str) -> None:
    line, refused, stays = SAID[language]
    panel = visit(breakable, locale=language, viewport={"width": 360, "height": 800})
    alert = panel.page.get_by_role("alert")
    expect(alert).to_have_count(0)
    expect(panel.page.locator("#memory .used")).to_be_visible()
    breakable.get("/break")
    expect(alert).to_have_text(line)
    expect(panel.page.locator("#live")).to_have_attribute("data-mode", "live")
    expect(panel.page.locator("#chart")).to_be_hidden()
    expect(panel.page.locator("#memory")).not_to_contain_text("0")
    expect(panel.field("tts", "next")).to_have_text(stays)
    panel.press("tts", "offload")
    expect(panel.field("tts", "note")).to_contain_text(refused)
    assert panel.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert panel.page.evaluate(FAINT) == []


def test_a_page_that_is_opened_afterwards_says_it_too(breakable: Serving, visit: Visit) -> None:
    breakable.get("/break")
    until(lambda: breakable.get("/healthz").status_code == 503)
    panel = visit(breakable)
    expect(panel.page.get_by_role("alert")).to_have_text(SAID["en"][0])
    panel.page.locator("#refresh").click()
    expect(panel.page.locator("#announcer")).to_have_text("Refreshed")


def test_what_the_page_reads_has_null_for_what_is_not_measured(breakable: Serving) -> None:
    breakable.get("/break")
    until(lambda: breakable.get("/healthz").status_code == 503)
    state = breakable.get("/dormouse/v1/panel").json()
    device = state["device"]
    unmeasured = ("totalBytes", "usedBytes", "processBytes", "restBytes", "holders")
    assert [device[name] for name in unmeasured] == [None] * len(unmeasured)
    assert device["weightsBytes"] > 0, "known without asking the device"
    assert state["models"][0]["nextMove"] is None
    history: httpx.Response = breakable.get("/dormouse/v1/gpu-memory")
    assert (history.status_code, history.json()["totalBytes"]) == (200, None)
