"""What every answer carries, and that the page's parts are whole."""

from __future__ import annotations

import json

import httpx
import pytest
from dormouse_webkit.pages import page_of

from .conftest import World

FILES = page_of("dormouse_console").files
STRINGS: dict[str, dict[str, str]] = json.loads(FILES["strings.json"].content)


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/nothing.js", "/api/fleet", "/nothing", "/healthz"])
def test_no_answer_can_be_framed_sniffed_scripted_or_read_by_another_site(world: World, path: str) -> None:
    headers = httpx.get(world.url + path, headers={"Origin": "https://evil.example"}, trust_env=False).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert "set-cookie" not in headers


def test_answers_with_data_are_never_kept(world: World) -> None:
    assert httpx.get(f"{world.url}/api/fleet", trust_env=False).headers["cache-control"] == "no-store"


def test_both_languages_have_the_same_sentences_with_the_same_blanks() -> None:
    english, chinese = STRINGS["en"], STRINGS["zh-CN"]
    assert list(english) == list(chinese)
    for key, sentence in english.items():
        blanks = {part.split("}")[0].split("|")[0] for part in sentence.split("{")[1:]}
        assert blanks == {part.split("}")[0].split("|")[0] for part in chinese[key].split("{")[1:]}, key


def test_every_script_is_asked_for_at_once_and_not_one_after_the_other() -> None:
    named = {name for name in FILES if name.endswith(".js")}
    index = FILES["index.html"].content.decode()
    assert {name for name in named if f'"page/{name}"' in index} == named
