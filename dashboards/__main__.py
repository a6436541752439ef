"""`python -m dashboards` writes the dashboards; with `--check` it only says whether they are fresh."""

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.fleet import fleet
from dashboards.model import model
from dashboards.operator import operator

FOLDER = Path(__file__).parents[1] / "charts" / "dormouse" / "dashboards"
BUILDERS = {"dormouse-fleet": fleet, "dormouse-model": model, "dormouse-operator": operator}


def as_json(board: Dashboard) -> str:
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(folder: Path) -> list[Path]:
    """One file per dashboard, ready to import."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, build in BUILDERS.items():
        file = folder / f"{name}.json"
        file.write_text(as_json(build()), encoding="utf-8")
        files.append(file)
    return files


def stale(folder: Path) -> list[str]:
    """The names of those that are missing, or differ from what the code gives."""
    return [
        name
        for name, build in BUILDERS.items()
        if not (file := folder / f"{name}.json").is_file() or file.read_text(encoding="utf-8") != as_json(build())
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to write; default: the chart")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail when a file is not fresh")
    given = parser.parse_args()
    if given.check:
        names = stale(given.folder)
        for name in names:
            print(f"{name}.json is not what dashboards/ gives. Write it anew: python -m dashboards", file=sys.stderr)  # noqa: T201
        return 1 if names else 0
    for file in write(given.folder):
        print(file)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
