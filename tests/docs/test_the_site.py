"""The site is built without a warning, has every page, loads nothing from elsewhere, and alerts lead into it."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlparse

import pytest
import yaml

from docsite.__main__ import STAGED, build
from docsite.markdown import between
from docsite.reference import generated
from docsite.staging import DOCS, ROOT, stage
from generate.sources import stale

SITE = ROOT / "build" / "site"
SETTINGS = (ROOT / "mkdocs.yml").read_text()
RULES = ROOT / "charts" / "dormouse" / "files" / "rules"
# What a browser fetches by itself, by element and attribute; a link that somebody clicks may lead anywhere.
FETCHED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "srcset")}


@pytest.fixture(scope="module")
def site() -> Path:
    assert build() == 0, "zensical's words are above"
    return SITE


class _Reader(HTMLParser):
    """The elements of one page with their attributes, and its paragraphs' text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def anchors(self) -> set[str]:
        return {given["id"] for _, given in self.elements if "id" in given}


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, _Reader]:
    return {page.parent.relative_to(site).as_posix(): _Reader(page) for page in site.rglob("index.html")}


def test_pages_made_of_code_are_fresh() -> None:
    assert [page.name for page in stale(generated())] == [], "run: make generate"


@pytest.mark.usefixtures("site")
def test_each_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", SETTINGS, re.MULTILINE)
    assert len(listed) == len(set(listed))
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert written - set(listed) == set(), "add the page to nav in mkdocs.yml"
    assert [page for page in listed if not (STAGED / page).is_file()] == [], "nav names a page that is not there"


def test_every_link_leads_to_a_page_and_a_place_on_it(pages: dict[str, _Reader]) -> None:
    broken = []
    for name, page in pages.items():
        for href in (given["href"] for tag, given in page.elements if tag == "a" and given.get("href")):
            target = urlparse(
                urljoin(f"site:///{'' if name == '.' else f'{name}/'}".replace("site:", "http://x"), href)
            )
            if target.netloc != "x":
                continue
            there = pages.get(target.path.strip("/") or ".")
            if there is None or (target.fragment and target.fragment not in there.anchors()):
                broken.append(f"{name}: {href}")
    assert broken == []


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[str, _Reader]) -> None:
    loaded = {
        given[attribute]
        for page in pages.values()
        for tag, given in page.elements
        for attribute in ("src", "href", "srcset")
        if (tag, attribute) in FETCHED and attribute in given and given.get("rel") not in ("canonical", "prev", "next")
    }
    assert loaded
    assert [address for address in loaded if urlparse(address).netloc] == []
    # The theme's own script fetches these from elsewhere, where a page has one.
    assert [
        name for name, page in pages.items() if any("mermaid" in given.get("class", "") for _, given in page.elements)
    ] == []
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles) == []


def test_no_list_was_swallowed_by_the_paragraph_before_it(site: Path) -> None:
    """GitHub begins a list without an empty line before it, and the site's Markdown does not."""
    for page in site.rglob("index.html"):
        for paragraph in re.findall(r"<p>(.*?)</p>", page.read_text(), re.DOTALL):
            assert re.search(r"^(?:[-*]|\d\.) ", paragraph, re.MULTILINE) is None, f"{page.parent.name}: {paragraph}"


def test_no_indented_text_became_code_and_no_table_stayed_text(site: Path) -> None:
    odd = re.compile(r"<pre><code>|<p>\|")
    assert [page.parent.name for page in site.rglob("index.html") if odd.search(page.read_text())] == []


def test_each_alert_leads_to_its_runbook(pages: dict[str, _Reader]) -> None:
    (site_url,) = re.findall(r"^site_url: (\S+)$", SETTINGS, re.MULTILINE)
    addresses = [rule["annotations"]["runbook_url"] for rule in _rules("alerts")]
    assert addresses
    for address in addresses:
        assert address.startswith(site_url)
        assert address.removeprefix(site_url).strip("/") in pages


def _rules(name: str) -> Iterator[dict[str, dict[str, str]]]:
    for group in yaml.safe_load((RULES / f"{name}.yaml").read_text())["groups"]:
        yield from group["rules"]


def test_a_file_outside_the_docs_becomes_a_page_and_links_follow(tmp_path: Path) -> None:
    staged = stage(tmp_path / "staged")
    assert "source/deploy/rbac.yaml.md" in staged
    assert "](source/deploy/rbac.yaml.md)" in (tmp_path / "staged" / "security.md").read_text()
    assert (
        "](../../../kubernetes.md)"
        in (tmp_path / "staged" / "source" / "charts" / "dormouse" / "README.md").read_text()
    )


def test_what_is_between_marks_is_replaced_and_nothing_else() -> None:
    page = "before\n<!-- begin: x -->\nold\n<!-- end: x -->\nafter"
    assert between(page, "x", ["new"]) == "before\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nafter"
    with pytest.raises(ValueError, match="no marks"):
        between("nothing here", "x", ["new"])
