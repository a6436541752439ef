"""Takes the pictures of docs/console.md from a running stage, after some minutes of use: nothing in them is made up.

python -m tests.console.screenshots
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect

from examples.demo.stage import REPOSITORY, Stage
from tests.modelserver.panel.browser import launched

from .people import HOME, ROLES, Person, hire
from .running import console, with_tokens

IMAGES = REPOSITORY / "docs" / "images"
USE_SECONDS = float(os.environ.get("USE_SECONDS", "480"))
NAMESPACE = "speech"
LIGHT: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB"}
DARK: dict[str, Any] = {**LIGHT, "color_scheme": "dark", "locale": "zh-CN"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 1150}, "device_scale_factor": 1.5, "locale": "en-GB"}
POLICIES: dict[str, dict[str, Any]] = {
    "asr": {"policy": {"offloadAfterSeconds": 20, "unloadAfterSeconds": 3600, "minResidentSeconds": 5}},
    "tts": {"policy": {"offloadAfterSeconds": 40, "unloadAfterSeconds": 100, "minResidentSeconds": 5}},
    "translator": {"policy": {"offloadAfterSeconds": 15, "minResidentSeconds": 5}},
    "vocoder": {"policy": {"offloadAfterSeconds": 600, "unloadAfterSeconds": 7200}, "mode": "Paused"},
    "embedder": {
        "policy": {
            "offloadAfterSeconds": 30,
            "unloadAfterSeconds": 7200,
            "schedule": [
                {"cron": "0 8 * * 1-5", "timeZone": "Asia/Shanghai", "durationSeconds": 36000, "residency": "CPU"}
            ],
        }
    },
    "reranker": {"policy": {"offloadAfterSeconds": 60, "minResidentSeconds": 5}, "mode": "Observe"},
}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Stage(device="sim:4GiB") as stage, launched() as browser:
        for namespace in (NAMESPACE, HOME):
            stage.add_namespace(namespace)
        replica = stage.add_replica("studio", NAMESPACE, app="tests.console.studio_app:create_app")
        stage.start_operator()
        stage.cluster.kubectl("apply", "-f", str(ROLES))
        stage.wait_until_ready()
        for name, spec in POLICIES.items():
            _manage(stage, name, "studio", model=name, **spec)
        _manage(stage, "whisper", "whisper", policy={"offloadAfterSeconds": 600})
        everybody = hire(stage.cluster, "anna", "dormouse-user", None)
        reader = hire(stage.cluster, "ravi", "dormouse-viewer", NAMESPACE)
        with console(Path(folder), stage, *with_tokens(stage)) as url:
            _use(replica.url)
            _take_all(browser, url, everybody, reader)


def _manage(stage: Stage, name: str, app: str, **spec: Any) -> None:
    body = {
        "apiVersion": "dormouse.dev/v1alpha1",
        "kind": "ManagedModel",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }
    stage.cluster.kubectl("apply", "-f", "-", input=json.dumps(body))


def _use(url: str) -> None:
    """Some minutes of a working day."""
    ends = time.monotonic() + USE_SECONDS
    rounds = 0
    while time.monotonic() < ends:
        for name in ("asr", "translator", *(("tts", "embedder") if rounds % 4 == 0 else ()), "reranker", "vocoder"):
            httpx.get(f"{url}/use/{name}", timeout=120).raise_for_status()
            time.sleep(2)
        time.sleep(30)
        rounds += 1
    httpx.get(f"{url}/use/tts", timeout=120).raise_for_status()
    time.sleep(4)


def _take_all(browser: Browser, url: str, everybody: Person, reader: Person) -> None:
    for name, context in (("fleet-light-en", LIGHT), ("fleet-dark-zh", DARK), ("phone-en", PHONE)):
        page = _signed_in(browser, url, everybody, context)
        expect(page.locator(".figures")).to_contain_text("GiB")
        _take(page, name)
    page = _signed_in(browser, url, everybody, {**LIGHT, "viewport": {"width": 1280, "height": 1500}})
    page.get_by_role("link", name="tts").click()
    page.locator("#model [data-range='15m']").click()
    expect(page.locator(".strip")).to_be_visible()
    page.locator("[data-action=wake]").click()
    expect(page.locator(".note")).to_contain_text("Taken")
    _take(page, "model-light-en")
    page = _signed_in(browser, url, reader, {**LIGHT, "viewport": {"width": 1000, "height": 620}}, NAMESPACE)
    page.get_by_role("link", name="asr").click()
    page.locator("[data-action=offload]").click(force=True)
    expect(page.locator(".note")).to_contain_text("cannot patch")
    _take(page, "refused-en")
    page = browser.new_context(**{**LIGHT, "viewport": {"width": 1000, "height": 560}}).new_page()
    page.goto(url)
    expect(page.locator("#token")).to_be_visible()
    _take(page, "sign-in-en")


def _signed_in(browser: Browser, url: str, person: Person, context: dict[str, Any], namespace: str = "") -> Page:
    page = browser.new_context(**context).new_page()
    page.goto(url)
    page.locator("#token").fill(person.token)
    page.locator("#token").press("Enter")
    expect(page.locator("#namespace")).to_be_visible()
    if namespace:
        page.locator("#namespace").fill(namespace)
        page.locator("#namespace").press("Enter")
    page.locator("#fleet [data-range='15m']").click()
    expect(page.locator(".rows .row").first).to_be_visible()
    return page


def _take(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_load_state("networkidle")
    target = IMAGES / f"console-{name}.png"
    page.screenshot(path=target, animations="disabled")
    subprocess.run(
        ["pngquant", "--force", "--skip-if-larger", "--strip", "--output", target, "256", target], check=True
    )
    page.context.close()


if __name__ == "__main__":
    main()
