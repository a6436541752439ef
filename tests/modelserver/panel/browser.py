"""A real browser that looks at the page, and how a test finds its way around there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-lcd-text",
]
# The machine may be busy with other tests.
expect.set_options(timeout=20_000)


@contextmanager
def launched() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(
            f"{CHROMIUM} is not there, and the tests of the page need it: run scripts/install-browser as root, or "
            "sudo apt-get install chromium fonts-noto-cjk fonts-noto-color-emoji"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


class Panel:
    """One open page. `problems` has what the browser complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _said(self, kind: str, text: str) -> None:
        # The browser logs each refusal as an error; that the page shows it is tested on the page.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource: the server responded"):
            self.problems.append(text)

    def open(self, url: str) -> "Panel":
        self.page.goto(url)
        expect(self.page.locator("#live")).to_have_attribute("data-mode", "live")
        expect(self.page.locator("article.model").first).to_be_visible()
        return self

    def card(self, model: str) -> Locator:
        return self.page.locator(f"article[data-model={model}]")

    def field(self, model: str, name: str) -> Locator:
        return self.card(model).locator(f"[data-field={name}]")

    def button(self, model: str, action: str) -> Locator:
        return self.card(model).locator(f"button[data-action={action}]")

    def press(self, model: str, action: str) -> None:
        self.button(model, action).click()

    def shows(self, model: str, residency: str) -> None:
        """Wait until the card shows the model there, with nothing under way."""
        expect(self.card(model)).to_have_attribute("data-residency", residency)
        expect(self.card(model)).to_have_attribute("data-moving", "false")
