"""The page's own files: read once from the package, served by exact name and nothing else."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import Request
from starlette.responses import Response

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}


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


@cache
def page_files() -> dict[str, PageFile]:
    """By name. Raises FileNotFoundError for a package that was built without them."""
    folder = files(__package__).joinpath("page")
    found = {
        file.name: PageFile(file.read_bytes(), _MEDIA_TYPES[file.name.rpartition(".")[2]])
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    }
    if "index.html" not in found:
        raise FileNotFoundError("the page's files are not in this installation of dormouse; install the wheel again")
    return found
