"""The stream: bounded, with polling where it is refused, and never in the way of a server that stops."""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from dormouse_modelserver.server.panel.watch import MAX_STREAMS
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving, environment, free_port
from tests.waiting import until

from .conftest import DEVICE, Visit, put

# uvicorn alone would wait for an open stream without end.
ENDS_WITHIN_SECONDS = 10.0


def test_a_page_whose_place_was_taken_asks_instead(server: Serving, visit: Visit) -> None:
    panel = visit(server)
    expect(panel.page.locator("#live")).to_have_attribute("data-mode", "live")
    events = f"{server.url}/dormouse/v1/events"
    with contextlib.ExitStack() as held:
        for _ in range(MAX_STREAMS):
            assert held.enter_context(httpx.stream("GET", events, timeout=30)).status_code == 200
        expect(panel.page.locator("#live")).to_have_attribute("data-mode", "polling")
        put(server, "tts", "residency", desired="CPU").raise_for_status()
        panel.shows("tts", "CPU")
        expect(panel.page.locator("#live")).to_have_attribute("data-mode", "polling")
        panel.page.reload()
        expect(panel.page.locator("#live")).to_have_attribute("data-mode", "live")


def test_a_state_that_nothing_happened_to_is_not_sent_again(server: Serving) -> None:
    lines: list[str] = []
    with httpx.stream("GET", f"{server.url}/dormouse/v1/events", timeout=30) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        # Two samples are five seconds apart.
        for line in response.iter_lines():
            lines.append(line)
            if lines.count("event: sample") == 2:
                break
    states = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith('data: {"now"')]
    assert states
    for state in states:
        del state["now"]
        for model in state["models"]:
            del model["savedByteSeconds"]
    assert all(before != after for before, after in itertools.pairwise(states)), "each says something new"
    for state in states:
        del state["hostRoomBytes"]
    assert all(before == after for before, after in itertools.pairwise(states)), "and nothing has moved"


def test_serve_stops_while_a_page_is_open(project: Path, visit: Visit) -> None:
    with Serving(project, "--app", "panel_project:create_app", "--device", DEVICE) as server:
        panel = visit(server)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < ENDS_WITHIN_SECONDS
        expect(panel.page.locator("#live")).to_have_attribute("data-mode", "lost")
        panel.problems[:] = [said for said in panel.problems if "net::ERR" not in said]


def test_installed_in_an_app_with_another_at_its_root_and_stopped_with_a_page_open(project: Path, visit: Visit) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "panel_project:app_of_mine", "--port", str(port)],
        env=environment(project),
        cwd=project,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url), 180)
        assert httpx.get(f"{url}/anything").text == "the app"
        panel = visit(f"{url}/sleep/")
        expect(panel.page.locator("#access")).to_contain_text("Read-only")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert time.monotonic() - began < ENDS_WITHIN_SECONDS
        panel.problems[:] = [said for said in panel.problems if "net::ERR" not in said]
    finally:
        process.kill()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/sleep", follow_redirects=True).status_code == 200
    except httpx.TransportError:
        return False


def test_without_an_app_the_root_leads_to_the_page(project: Path, visit: Visit) -> None:
    with Serving(project, "--model", "tts=panel_project:load_tts", "--device", DEVICE) as server:
        panel = visit(server.url)
        assert panel.page.url == f"{server.url}/dormouse/"
        panel.press("tts", "wake")
        panel.shows("tts", "GPU")
        panel.page.context.close()
