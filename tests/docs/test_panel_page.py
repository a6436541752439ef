"""`docs/panel.md` leads to pictures that are there and small, and names what the page itself says."""

import json
import re

import pytest
from dormouse_webkit.pages import page_of

from .pages import DOCS, anchors, read

MOST_BYTES = 200_000
PICTURES = re.findall(r"!\[[^]]+\]\(([^)]+)\)", read("panel.md"))


def test_there_are_pictures_of_light_dark_and_phone() -> None:
    for kind in ("light", "dark", "phone"):
        assert any(kind in picture for picture in PICTURES), kind


@pytest.mark.parametrize("picture", [*PICTURES, *(f"images/{path.name}" for path in (DOCS / "images").glob("*.png"))])
def test_a_picture_is_there_and_small(picture: str) -> None:
    assert (DOCS / picture).stat().st_size < MOST_BYTES


def test_links_to_other_pages_lead_somewhere() -> None:
    for page, anchor in re.findall(r"\]\((\w[\w-]*\.md)(?:#([\w-]+))?\)", read("panel.md")):
        assert not anchor or anchor in anchors(read(page)), f"{page}#{anchor}"


@pytest.mark.parametrize(
    "key",
    [
        "tileReleased",
        "tileSaved",
        "tileHost",
        "partWeights",
        "partRest",
        "partOthers",
        "holdersCaption",
        "factRestore",
        "badgeDirty",
        "historyHeading",
        "refresh",
        "wake",
        "offload",
        "unload",
        "pin",
    ],
)
def test_what_the_page_calls_something_the_docs_call_so_too(key: str) -> None:
    words = json.loads(page_of("dormouse_modelserver.server.panel").files["strings.json"].content)["en"][key]
    assert words in read("panel.md")
