"""One page: its own files and the kit's under one address, read once from the packages, served by exact name only.

The scripts import each other by `./name.js`, wherever a file comes from, so a page works below any prefix. Sentences
that both pages say stand in the kit's `strings.json`, and each page's own in its own; what is served is both.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from .language import preferred

INDEX, STRINGS = "index.html", "strings.json"
_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}
_KIT = "dormouse_webkit"


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes
    media_type: str

    def response(self, request: Request) -> Response:
        """Asked for again at each visit and sent only when it changed, so that an update shows at once."""
        etag = f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


@dataclass(frozen=True, slots=True)
class Page:
    """`files` by name, the index included."""

    files: Mapping[str, PageFile]

    def index(self, request: Request) -> Response:
        """The page, which says from its first byte on what language it will speak."""
        index = self.files[INDEX]
        language = preferred(request.headers.get("accept-language", ""))
        content = index.content.replace(b'<html lang="en">', f'<html lang="{language}">'.encode())
        response = PageFile(content, index.media_type).response(request)
        response.headers["Vary"] = "Accept-Language"
        return response

    def file(self, name: str) -> PageFile | None:
        """What the page loads, by its name; the page itself has its own address."""
        return None if name == INDEX else self.files.get(name)


@cache
def page_of(package: str) -> Page:
    """The page of that package. Raises FileNotFoundError for an installation that was built without its files."""
    own, kit = _files_of(package), _files_of(_KIT)
    if INDEX not in own or STRINGS not in kit:
        raise FileNotFoundError("the page's files are not in this installation of dormouse; install the wheel again")
    sentences = _together(json.loads(kit[STRINGS].content), json.loads(own[STRINGS].content))
    written = json.dumps(sentences, ensure_ascii=False).encode()
    return Page({**kit, **own, STRINGS: PageFile(written, _MEDIA_TYPES["json"])})


def _files_of(package: str) -> dict[str, PageFile]:
    folder = files(package).joinpath("page")
    return {
        file.name: PageFile(file.read_bytes(), _MEDIA_TYPES[file.name.rpartition(".")[2]])
        for file in (folder.iterdir() if folder.is_dir() else ())
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    }


def _together(shared: Mapping[str, Mapping[str, str]], own: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    return {language: {**sentences, **own[language]} for language, sentences in shared.items()}
