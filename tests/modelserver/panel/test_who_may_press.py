"""Read-only without authority, with the reason; a token opens the buttons; behind a sidecar the operator decides."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.modelserver.server.serving_process import Serving

from .conftest import DEVICE, Visit

ARGUMENTS = ("--model", "tts=panel_project:load_tts", "--device", DEVICE)
NO_TOKEN = {
    "en": "Read-only. This port changes no state, because the server was started without DORMOUSE_PANEL_TOKEN",
    "zh-CN": "只读。此端口不能更改状态，因为服务器启动时没有设置 DORMOUSE_PANEL_TOKEN",
}
OPERATOR = {"en": "the operator decides about them", "zh-CN": "由 operator 决定"}


@pytest.fixture(scope="module")
def open_to_others(project: Path) -> Iterator[Serving]:
    with Serving(project, *ARGUMENTS, "--host", "0.0.0.0") as server:  # noqa: S104 - what is tested
        yield server


@pytest.fixture(scope="module")
def with_token(project: Path) -> Iterator[Serving]:
    with Serving(project, *ARGUMENTS, "--host", "0.0.0.0", DORMOUSE_PANEL_TOKEN="night mouse") as server:  # noqa: S104
        yield server


@pytest.fixture(scope="module")
def behind_a_sidecar(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    socket = str(tmp_path_factory.mktemp("run") / "model.sock")
    with Serving(project, *ARGUMENTS, DORMOUSE_SOCKET=socket, DORMOUSE_PANEL_TOKEN="night mouse") as server:
        yield server


@pytest.mark.parametrize("language", NO_TOKEN)
def test_without_a_token_it_is_read_only_and_says_why(open_to_others: Serving, visit: Visit, language: str) -> None:
    panel = visit(open_to_others, locale=language)
    expect(panel.page.locator("#access")).to_contain_text(NO_TOKEN[language])
    expect(panel.button("tts", "wake")).to_be_hidden()
    assert panel.page.locator("#access input").count() == 0


@pytest.mark.parametrize("language", OPERATOR)
def test_behind_a_sidecar_the_operator_decides(behind_a_sidecar: Serving, visit: Visit, language: str) -> None:
    panel = visit(behind_a_sidecar, locale=language)
    expect(panel.page.locator("#access")).to_contain_text(OPERATOR[language])
    expect(panel.button("tts", "wake")).to_be_hidden()
    assert panel.page.locator("#access input").count() == 0


def test_a_token_opens_the_buttons_of_this_tab(with_token: Serving, visit: Visit) -> None:
    panel = visit(with_token)
    page = panel.page
    panel.press("tts", "wake")
    expect(panel.field("tts", "note")).to_contain_text("Give the token first")
    expect(page.get_by_label("Token")).to_be_focused()

    page.get_by_label("Token").fill("day mouse")
    page.keyboard.press("Enter")
    expect(page.locator("#token-problem")).to_have_text("That is not this server's token. Nothing was moved.")
    assert page.evaluate("Object.keys(sessionStorage).length") == 0, "a wrong token is not kept"

    page.get_by_label("Token").fill("night mouse")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#access")).to_contain_text("kept in this tab")
    panel.press("tts", "wake")
    panel.shows("tts", "GPU")
    panel.press("tts", "pin")
    expect(panel.button("tts", "pin")).to_have_attribute("aria-pressed", "true")
    panel.press("tts", "pin")
    panel.press("tts", "unload")
    panel.shows("tts", "Unloaded")

    assert "night" not in page.evaluate("JSON.stringify(Object.values(localStorage)) + document.cookie + location.href")
    page.reload()
    expect(page.locator("#access")).to_contain_text("kept in this tab")
    page.get_by_role("button", name="Forget it").click()
    panel.press("tts", "wake")
    expect(panel.field("tts", "note")).to_contain_text("Give the token first")
    assert with_token.get("/dormouse/v1/models/tts").json()["residency"] == "Unloaded"


def test_a_token_that_is_no_longer_the_servers_is_refused_in_words(with_token: Serving, visit: Visit) -> None:
    panel = visit(with_token)
    panel.page.evaluate("sessionStorage.setItem('dormouse.token:' + new URL('.', document.baseURI).pathname, 'old')")
    panel.page.reload()
    panel.press("tts", "wake")
    expect(panel.field("tts", "note")).to_have_text("That is not this server's token. Nothing was moved.")
    assert with_token.get("/dormouse/v1/models/tts").json()["residency"] == "Unloaded"


def test_another_tab_knows_nothing_of_the_token(with_token: Serving, visit: Visit) -> None:
    panel = visit(with_token)
    panel.page.get_by_label("Token").fill("night mouse")
    panel.page.keyboard.press("Enter")
    expect(panel.page.locator("#access")).to_contain_text("kept in this tab")
    other = panel.page.context.new_page()
    other.goto(panel.page.url)
    expect(other.get_by_label("Token")).to_be_visible()
