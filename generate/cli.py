"""`python -m generate`: what `make generate` does."""

import argparse
import sys
from collections.abc import Sequence

from generate.sources import ROOT, SOURCES, Source, generated, stale

EXAMPLES = """\
examples:
  make generate                 write what is stale, after a change of the CRD, a chart value, a metric, an option …
  python -m generate --check    only name what is stale; `make check` does this
"""


def main(arguments: Sequence[str] | None = None, sources: Sequence[Source] = SOURCES) -> int:
    """The exit status: 0, or 1 when `--check` found a stale file."""
    parser = argparse.ArgumentParser(
        prog="python -m generate",
        description="Write the files that are made from other files. Fresh ones are not touched.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing, and fail when a file is stale")
    given = parser.parse_args(arguments)
    files = stale(generated(sources))
    for path, text in files.items():
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        if given.check:
            print(f"stale: {shown}. Write it anew: make generate", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote: {shown}")
    return int(bool(files) and given.check)
