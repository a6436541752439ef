"""What the pages share lies once, and what is served is as good as one folder: whole, cheap to ask again, no path."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from dormouse_contract.problems import Problem, ProblemReason
from dormouse_webkit.bodies import BodyTooLarge, read_body
from dormouse_webkit.headers import Secured, secured
from dormouse_webkit.language import preferred
from dormouse_webkit.pages import INDEX, STRINGS, page_of
from dormouse_webkit.problems import problem_response
from fastapi import FastAPI, Request, Response

KIT, PANEL, CONSOLE = "dormouse_webkit", "dormouse_modelserver.server.panel", "dormouse_console"
PAGES = (PANEL, CONSOLE)
LANGUAGES = ("en", "zh-CN")


def own(package: str) -> dict[str, bytes]:
    return {Path(str(file)).name: file.read_bytes() for file in files(package).joinpath("page").iterdir()}


def sentences(package: str, language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(own(package)[STRINGS])[language]
    return found


@pytest.mark.parametrize("package", PAGES)
def test_no_page_has_a_file_of_the_kit(package: str) -> None:
    assert own(package).keys() & own(KIT).keys() == {STRINGS}


def test_no_file_lies_twice() -> None:
    contents = [content for package in (KIT, *PAGES) for content in own(package).values()]
    assert len(contents) == len(set(contents))


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_both_pages_say_alike_stands_in_the_kit_alone(language: str) -> None:
    kit, panel, console = (sentences(package, language) for package in (KIT, *PAGES))
    assert kit.keys() & (panel.keys() | console.keys()) == set()
    other = next(one for one in LANGUAGES if one != language)
    alike = {key for key in panel.keys() & console.keys() if panel[key] == console[key]}
    in_both_languages = {key for key in alike if sentences(PANEL, other)[key] == sentences(CONSOLE, other)[key]}
    assert in_both_languages == set()


@pytest.mark.parametrize("package", PAGES)
def test_a_page_has_the_sentences_of_both(package: str) -> None:
    served = json.loads(page_of(package).files[STRINGS].content)
    for language in LANGUAGES:
        assert served[language] == {**sentences(KIT, language), **sentences(package, language)}


@pytest.mark.parametrize("package", PAGES)
def test_whatever_a_page_loads_is_there(package: str) -> None:
    page = page_of(package)
    text = "\n".join(file.content.decode() for file in page.files.values())
    imported = set(re.findall(r'from "\./([\w.]+)"|import "\./([\w.]+)"', text))
    linked = set(re.findall(r'(?:href|src)="(?:page|panel)/([\w.]+)"', text))
    named = {name for pair in imported for name in pair if name} | linked
    assert {"base.css", "icon.svg", "i18n.js", "words.js", "app.js"} <= named
    assert {name for name in named if page.file(name) is None} == set()


@pytest.mark.parametrize("package", PAGES)
def test_every_sentence_that_a_script_says_is_there(package: str) -> None:
    page = page_of(package)
    scripts = "\n".join(page.files[name].content.decode() for name in page.files if name.endswith((".js", ".html")))
    called = set(re.findall(r'\bt\(\s*"(\w+)"', scripts)) | set(re.findall(r'data-(?:text|label)="(\w+)"', scripts))
    assert called <= json.loads(page.files[STRINGS].content)["en"].keys()


@pytest.fixture
async def http() -> httpx.AsyncClient:
    app = FastAPI()

    @app.get("/")
    async def index(request: Request) -> Response:
        return page_of(CONSOLE).index(request)

    @app.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        found = page_of(CONSOLE).file(name)
        return Response(status_code=404) if found is None else found.response(request)

    @app.post("/")
    async def take(request: Request) -> Response:
        try:
            return Response(str(len(await read_body(request, 10))))
        except BodyTooLarge:
            return problem_response({"status": 413, "title": "Too large"}, retry_after_seconds=0.2)

    @app.get("/kept")
    async def kept() -> Response:
        return secured(Response("x", headers={"Cache-Control": "max-age=60"}))

    app.add_middleware(Secured)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kit")


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/dom.js", "/page/strings.json", "/page/base.css"])
async def test_a_file_is_sent_once_and_then_only_when_it_changed(http: httpx.AsyncClient, path: str) -> None:
    first = await http.get(path)
    assert first.headers["cache-control"] == "no-cache"
    assert re.fullmatch(r'"[0-9a-f]{16}"', first.headers["etag"]), "a strong one"
    again = await http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


async def test_each_language_is_kept_by_itself(http: httpx.AsyncClient) -> None:
    english, chinese = [await http.get("/", headers={"Accept-Language": tag}) for tag in ("en-GB", "zh-CN,en;q=0.5")]
    assert ('<html lang="en">' in english.text, '<html lang="zh-CN">' in chinese.text) == (True, True)
    assert english.headers["etag"] != chinese.headers["etag"]
    assert english.headers["vary"] == chinese.headers["vary"] == "Accept-Language"
    stale = await http.get("/", headers={"Accept-Language": "zh-CN", "If-None-Match": english.headers["etag"]})
    assert stale.status_code == 200


@pytest.mark.parametrize("name", [INDEX, "nothing.js", "..%2fheaders.py", "%2e%2e", "base.css%00", ".", "__init__.py"])
async def test_nothing_else_is_served(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get(f"/page/{name}")).status_code == 404


@pytest.mark.parametrize("length", [0, 10, 11, 100_000])
async def test_a_body_is_read_up_to_its_limit(http: httpx.AsyncClient, length: int) -> None:
    answer = await http.post("/", content=b"x" * length)
    if length <= 10:
        assert answer.text == str(length)
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert answer.headers["retry-after"] == "1", "never at once"


async def test_what_a_route_says_of_caching_stays(http: httpx.AsyncClient) -> None:
    assert (await http.get("/kept")).headers["cache-control"] == "max-age=60"
    assert (await http.post("/")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("zh", "zh-CN"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en;q=0.5,zh;q=0.5", "en"),
        ("zh;q=0.5,en;q=0.5", "zh-CN"),
        ("fr-FR,de", "en"),
        ("zh;q=nonsense,en", "en"),
        (";;,=,zh;q=", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_would_rather_read(accepted: str, chosen: str) -> None:
    assert preferred(accepted) == chosen


def test_a_problem_with_a_reason_of_a_later_version_is_read_with_its_word() -> None:
    body = '{"title": "No", "status": 409, "detail": "The moon is full.", "reason": "%s", "moonPhase": 1}'
    later = Problem.model_validate_json(body % "FullMoon")
    assert (later.reason, later.detail) == ("FullMoon", "The moon is full.")
    assert Problem.model_validate_json(body % "InUse").reason is ProblemReason.IN_USE
