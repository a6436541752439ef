"""`docs/console.md` shows pictures that are there, and names buttons, figures and commands as they are."""

import json
import re

import pytest
from dormouse_console.plugin.cli import _parser
from dormouse_webkit.pages import page_of

from .pages import DOCS, anchors, read

STRINGS: dict[str, str] = json.loads(page_of("dormouse_console").files["strings.json"].content)["en"]
PICTURES = re.findall(r"!\[[^]]+\]\(([^)]+)\)", read("console.md"))
NAMED = ["wake", "offload", "unload", "pin", "auto", "pause", "resume", "chart_held", "chart_released"]
NAMED += ["colResidency", "colDesired", "colReleased", "colMoved", "colIdle", "timelineHeading", "signOut", "namespace"]


def test_the_pictures_are_there() -> None:
    assert len(PICTURES) >= 5
    assert all((DOCS / picture).is_file() for picture in PICTURES)


@pytest.mark.parametrize("key", NAMED)
def test_what_the_page_calls_something_the_docs_call_so_too(key: str) -> None:
    assert STRINGS[key] in read("console.md")


def test_links_to_other_pages_lead_somewhere() -> None:
    for page, anchor in re.findall(r"\]\((\w[\w/-]*\.md)(?:#([\w-]+))?\)", read("console.md")):
        assert not anchor or anchor in anchors(read(page)), f"{page}#{anchor}"


def test_each_command_of_the_plugin_is_shown() -> None:
    commands = next(action.choices for action in _parser({})._actions if action.dest == "command")
    assert commands
    for command in commands:
        assert command in read("console.md")
