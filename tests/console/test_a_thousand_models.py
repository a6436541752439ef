"""A thousand ManagedModels of the real API server: the page is there within a second and scrolls without a hitch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect

from .conftest import World
from .people import Person, hire

MANY = 1000
NAMESPACE = "crowd"
BUDGET_MS = 1000
# The slowest but one in twenty: a scroll with such frames looks even.
SLOW_FRAME_MS = 50
TRIES = 10
SCROLL = """() => new Promise((done) => {
    const frames = [];
    let last = performance.now();
    const began = last;
    const step = (now) => {
        frames.push(now - last);
        last = now;
        scrollBy(0, 400);
        if (now - began < 2000) requestAnimationFrame(step);
        else done(frames.slice(2).sort((a, b) => a - b));
    };
    requestAnimationFrame(step);
})"""
LOADED = """() => performance.now() - performance.getEntriesByType("navigation")[0].startTime"""


@pytest.fixture(scope="module")
def crowd(world: World) -> Iterator[Person]:
    plane = world.stage.cluster.control_plane
    plane.api.create_namespace(NAMESPACE)
    path = f"/apis/dormouse.dev/v1alpha1/namespaces/{NAMESPACE}/managedmodels"

    def create(number: int) -> None:
        name = f"model-{number:04}"
        spec = {"selector": {"matchLabels": {"app": name}}, "mode": "Paused", "policy": {"offloadAfterSeconds": 600}}
        head = {"apiVersion": "dormouse.dev/v1alpha1", "kind": "ManagedModel", "metadata": {"name": name}}
        plane.api.request("POST", path, {**head, "spec": spec})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(MANY)))
    yield hire(world.stage.cluster, "carl", "dormouse-viewer", NAMESPACE)
    plane.api.remove_namespace(NAMESPACE)


def test_the_page_is_there_within_a_second_and_smooth(world: World, crowd: Person, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(world.url)
    page.evaluate(
        "([token, namespace]) => { sessionStorage.setItem('dormouse.console.token:/', token);"
        " localStorage.setItem('dormouse.console.namespace', namespace); }",
        [crowd.token, NAMESPACE],
    )
    # What the page needs, and not what else the machine does: the best of several.
    took: list[float] = []
    while not took or (min(took) >= BUDGET_MS and len(took) < TRIES):
        page.reload()
        page.locator(".rows .row").nth(10).wait_for()
        took.append(page.evaluate(LOADED))
    expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", str(MANY + 1))
    assert min(took) < BUDGET_MS, took
    assert page.locator(".rows .row").count() < 80
    slow: list[float] = []
    while not slow or (min(slow) >= SLOW_FRAME_MS and len(slow) < TRIES):
        frames = page.evaluate(SCROLL)
        slow.append(frames[int(len(frames) * 0.95)])
    assert min(slow) < SLOW_FRAME_MS, slow
    last = page.locator(f".row[data-key='{NAMESPACE}/model-0999']")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(last).to_be_visible()
    page.locator("#search").fill("0500")
    expect(page.locator(".rows .name a")).to_have_text(["model-0500"])
    page.context.close()
