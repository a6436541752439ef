"""`python -m docsite reference` writes the pages that come from code, `build` makes the site of all pages."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from docsite.staging import DOCS, ROOT, stage

STAGED = ROOT / "build" / "docs"


def reference() -> dict[Path, str]:
    """Each page that is made of code, as it should be."""
    from docsite.commands import commands
    from docsite.control_api import control_api
    from docsite.managed_model import managed_model
    from docsite.metrics import metrics_page

    metrics = DOCS / "metrics.md"
    return {
        DOCS / "reference" / "managedmodel.md": managed_model(),
        DOCS / "reference" / "control-api.md": control_api(),
        DOCS / "reference" / "commands.md": commands(),
        metrics: metrics_page(metrics.read_text()),
    }


def stale() -> dict[Path, str]:
    return {page: text for page, text in reference().items() if not page.exists() or page.read_text() != text}


def build(*, watching: bool = False) -> int:
    """A warning is an error. The site is in build/site."""
    stage(STAGED)
    what = ["serve"] if watching else ["build", "--clean", "--strict"]
    command = [str(Path(sys.executable).parent / "zensical"), *what]
    # The Markdown extension of ours is found from the root.
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docsite", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pages = commands.add_parser("reference", help="write the pages that come from code")
    pages.add_argument("--check", action="store_true", help="write nothing, and fail when a page is not fresh")
    commands.add_parser("build", help="make the site; a warning is an error")
    commands.add_parser("serve", help="show the site on this machine")
    given = parser.parse_args()
    if given.command != "reference":
        return build(watching=given.command == "serve")
    found = stale()
    for page, text in found.items():
        print(f"{'stale' if given.check else 'wrote'}: {page.relative_to(ROOT)}")  # noqa: T201
        if not given.check:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text)
    return int(bool(found) and given.check)


if __name__ == "__main__":
    sys.exit(main())
