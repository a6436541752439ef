"""`python -m docsite build` makes the site of all pages, `serve` shows it on this machine."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from docsite.staging import ROOT, stage

STAGED = ROOT / "build" / "docs"


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
    commands.add_parser("build", help="make the site; a warning is an error")
    commands.add_parser("serve", help="show the site on this machine")
    return build(watching=parser.parse_args().command == "serve")


if __name__ == "__main__":
    sys.exit(main())
