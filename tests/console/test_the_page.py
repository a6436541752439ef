"""The page in a real browser on the running stage: table, model, each button for who may and for who may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dormouse_contract import Residency
from playwright.sync_api import Browser, Page, Route, expect

from tests.waiting import eventually

from .conftest import MODEL, NAMESPACE, OTHER, World
from .people import Person

Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, world: World) -> Iterator[Visit]:
    """Opens the page in a window of its own and signs in; the browser must not complain of anything."""
    problems: list[str] = []
    contexts = []

    def said(kind: str, text: str) -> None:
        # The browser logs each refusal as an error; that the page shows it is tested on the page.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource: the server responded"):
            problems.append(text)

    def open_it(person: Person | None, namespace: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said(message.type, message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(world.url)
        if person is not None:
            page.locator("#token").fill(person.token)
            page.locator("#token").press("Enter")
            expect(page.locator("#namespace")).to_be_visible()
        if namespace:
            page.locator("#namespace").fill(namespace)
            page.locator("#namespace").press("Enter")
            expect(page.locator(".rows .row").first).to_be_visible()
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


def model_page(page: Page, name: str = MODEL) -> Page:
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("[data-action=wake]")).to_be_visible()
    return page


def where_the_buttons_are(page: Page) -> tuple[int, int]:
    """In whole pixels."""
    box = page.locator("[data-action=offload]").bounding_box()
    assert box is not None
    return round(box["x"]), round(box["y"])


def test_the_buttons_do_not_move_when_the_figures_come(reader: Person, visit: Visit) -> None:
    page = visit(reader, NAMESPACE)
    held: list[Route] = []
    page.route("**/replicas?*", lambda route: held.append(route))
    model_page(page)
    expect(page.get_by_text("You may look at this model and not change it")).to_be_visible()
    eventually("the figures were asked for", lambda: page.evaluate("1") and held)
    before = where_the_buttons_are(page)
    for each in held:
        each.continue_()
    expect(page.locator("[data-part=next]")).to_contain_text("Next look")
    assert where_the_buttons_are(page) == before


def note(page: Page, text: str) -> None:
    expect(page.locator(".note")).to_contain_text(text)


def test_the_table_shows_where_each_model_is_and_why(world: World, everywhere: Person, visit: Visit) -> None:
    world.reset()
    page = visit(everywhere)
    row = page.locator(f".row[data-key='{NAMESPACE}/{MODEL}']")
    expect(row).to_have_attribute("data-residency", str(world.residency()))
    expect(row.locator(".ready")).to_contain_text("AsDesired")
    expect(row.locator(".idle")).not_to_have_text("–")
    expect(page.locator(".row[data-key='vision/ocr'] .mode")).to_have_text("Observe")
    expect(page.locator("#savings-heading + .badge")).to_contain_text("simulated")
    expect(page.locator("[data-figure=heldNow]")).to_contain_text("iB")
    expect(page.locator("#user")).to_have_text(f"as {everywhere.user}")


def test_it_filters_searches_and_sorts(everywhere: Person, visit: Visit) -> None:
    page = visit(everywhere)
    names = page.locator(".rows .name a")
    expect(names).to_have_text(["ocr", MODEL])
    page.locator("[data-sort=name]").click()
    expect(names).to_have_text([MODEL, "ocr"])
    page.get_by_role("button", name="Not ready only").click()
    expect(names).to_have_text(["ocr"])
    page.get_by_role("button", name="Not ready only").click()
    page.locator("#search").fill("spee")
    expect(names).to_have_text([MODEL])
    expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "2")


def test_each_button_works_for_who_may(world: World, permitted: Person, visit: Visit) -> None:
    world.reset()
    page = model_page(visit(permitted, NAMESPACE))
    for action, residency in (
        ("offload", Residency.CPU),
        ("unload", Residency.UNLOADED),
        ("wake", Residency.GPU),
    ):
        page.locator(f"[data-action={action}]").click()
        note(page, "Taken")
        eventually(f"{action} is carried out", lambda wanted=residency: world.residency() is wanted)
        expect(page.locator("section.model")).to_have_attribute("data-residency", str(residency))
    page.locator("[data-action=pin]").click()
    note(page, "stays on the GPU")
    expect(page.locator("[data-part=override]")).to_contain_text("By hand: On the GPU until")
    page.locator("[data-action=auto]").click()
    note(page, "policy decides again")
    expect(page.locator("[data-action=auto]")).to_be_hidden()
    page.locator("[data-action=pause]").click()
    note(page, "until it is resumed")
    page.locator("[data-action=wake]").click()
    note(page, "its mode is Paused")
    page.locator("[data-action=resume]").click()
    expect(page.locator("[data-action=resume]")).to_be_hidden()
    assert world.spec()["mode"] == "Active"
    expect(page.locator(".events li[data-type]").first).to_be_visible()
    page.locator("#model [data-range='15m']").click()
    expect(page.locator(f".strip[data-pod={MODEL}-0] rect").first).to_be_visible()
    expect(page.locator(f"tr[data-pod={MODEL}-0]")).to_contain_text("simulated")
    world.reset()


@pytest.mark.parametrize("action", ["wake", "offload", "unload", "pause", "pin"])
def test_each_button_is_refused_to_who_may_only_look_with_the_reason(
    world: World, reader: Person, visit: Visit, action: str
) -> None:
    before = world.spec()
    page = model_page(visit(reader, NAMESPACE))
    expect(page.get_by_text("You may look at this model and not change it")).to_be_visible()
    expect(page.locator(f"[data-action={action}]")).to_have_attribute("aria-disabled", "true")
    # A click on what is marked as disabled: the page lets it through, and the server decides.
    page.locator(f"[data-action={action}]").click(force=True)
    note(page, f'User "{reader.user}" cannot patch resource "managedmodels"')
    assert world.spec() == before


def test_who_may_not_see_all_namespaces_is_told_to_name_one(stranger: Person, visit: Visit) -> None:
    page = visit(stranger)
    expect(page.locator("#problem")).to_contain_text("You may not list ManagedModels in all namespaces")
    page.locator("#namespace").fill(NAMESPACE)
    page.locator("#namespace").press("Enter")
    expect(page.locator("#problem")).to_contain_text(f'in the namespace "{NAMESPACE}"')
    expect(page.locator(".rows .row")).to_have_count(0)
    page.locator("#namespace").fill(OTHER)
    page.locator("#namespace").press("Enter")
    expect(page.locator(".rows .name a")).to_have_text(["ocr"])
    expect(page.locator("#problem")).to_be_empty()


def test_a_token_that_is_none_is_refused_and_not_kept(visit: Visit) -> None:
    page = visit(None)
    expect(page.get_by_text("kubectl create token")).to_be_visible()
    page.locator("#token").fill("made-up")
    page.locator("#token").press("Enter")
    expect(page.locator("#token-problem")).to_contain_text("does not take this token")
    assert page.evaluate("sessionStorage.getItem('dormouse.console.token:/')") == ""


def test_signing_out_leaves_nothing_on_the_page(permitted: Person, visit: Visit) -> None:
    page = visit(permitted, NAMESPACE)
    page.locator("#sign-out").click()
    expect(page.locator("#token")).to_be_focused()
    assert MODEL not in page.locator("body").inner_text()
    assert permitted.token not in json.dumps(page.evaluate("({...sessionStorage, ...localStorage})"))


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_on_a_phone_nothing_is_wider_than_the_screen(permitted: Person, visit: Visit, language: str) -> None:
    page = visit(permitted, NAMESPACE, viewport={"width": 360, "height": 800}, locale=language)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    model_page(page)
    expect(page.locator(f"tr[data-pod={MODEL}-0]")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    heading = {"en-GB": "What you can do", "zh-CN": "您可以做什么"}[language]
    expect(page.get_by_role("heading", name=heading)).to_be_visible()


def test_it_is_used_by_keyboard_alone(world: World, permitted: Person, visit: Visit) -> None:
    world.reset()
    page = visit(permitted, NAMESPACE)
    link = page.get_by_role("link", name=MODEL, exact=True)
    link.focus()
    page.keyboard.press("Enter")
    offload = page.locator("[data-action=offload]")
    expect(offload).to_be_visible()
    offload.focus()
    page.keyboard.press("Enter")
    note(page, "Taken")
    page.go_back()
    expect(link).to_be_visible()
    world.reset()
