"""An inner list is indented by two spaces on GitHub, and by four in the Markdown that sites are made from."""

from typing import Any

from markdown import Markdown
from markdown.extensions import Extension


class ListsOfGitHub(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (the library's name)
        md.tab_length = 2


def makeExtension(**settings: Any) -> ListsOfGitHub:  # noqa: N802 (the library's name)
    return ListsOfGitHub(**settings)
