"""Makes of `docs/` the folder that the site is built from.

Pages are written for GitHub and link to files outside `docs/` (an example, the chart's README), which a site doesn't
have. Here each of these files becomes a page of the site too, under `source/`, and so on for what they link to.
"""

import posixpath
import re
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = "source"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".tpl": "yaml", ".json": "json", ".sh": "sh", ".lua": "lua"}


def stage(folder: Path) -> list[str]:
    """Fills the folder anew; what it returns are its pages, relative to it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.md"))
    pages = deque(sorted(DOCS.rglob("*.md")))
    seen = set(pages)
    written = []
    while pages:
        file = pages.popleft()
        text, targets = _moved(file)
        page = folder / _place(file)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
        written.append(_place(file))
        pages.extend(sorted(targets - seen))
        seen |= targets
    return written


def _moved(file: Path) -> tuple[str, set[Path]]:
    """The page's text with links as the site needs them, and the files that become pages because of it."""
    if file.is_dir():
        inside = sorted(one for one in file.iterdir() if one.suffix in _LANGUAGES)
        listed = "".join(f"- [{one.name}]({file.name}/{one.name}.md)\n" for one in inside)
        return f"# {file.relative_to(ROOT).as_posix()}\n\n{listed}", set(inside)
    if file.suffix != ".md":
        return _as_page(file), set()
    targets: set[Path] = set()

    def link(found: re.Match[str]) -> str:
        target = (file.parent / found[1]).resolve()
        if target.is_dir() and (target / "README.md").is_file():
            target /= "README.md"
        if not target.exists() or not target.is_relative_to(ROOT):
            return found[0]
        if target.suffix == ".md" or not target.is_relative_to(DOCS):
            targets.add(target)
        return posixpath.relpath(_place(target), posixpath.dirname(_place(file)) or ".") + (found[2] or "")

    return _outside_fences(file.read_text(), link), targets


def _outside_fences(text: str, link: Callable[[re.Match[str]], str]) -> str:
    pieces, end = [], 0
    for fence in _FENCE.finditer(text):
        pieces += [_LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join(pieces) + _LINK.sub(link, text[end:])


def _place(file: Path) -> str:
    """Where a file of the repository is in the staged folder."""
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS).as_posix()
    path = file.relative_to(ROOT).as_posix()
    return f"{OUTSIDE}/{path}" + ("" if file.suffix == ".md" else ".md")


def _as_page(file: Path) -> str:
    text = file.read_text()
    fence = "`" * (1 + max(map(len, re.findall("`{3,}", text)), default=2))
    title = file.relative_to(ROOT).as_posix()
    return f"# {title}\n\n{fence}{_LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"
